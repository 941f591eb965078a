/* KTO's reference point, loss and gradient (see kto.h). */
#include "rl/kto.h"

#include "rl/equations.h"

double qa_kto_reference_point(const double *log_ratio, size_t n) {
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        sum += log_ratio[i];
    }
    return n == 0 || sum < 0.0 ? 0.0 : sum / (double)n; /* a NaN stays one */
}

double qa_kto_utility(double b, double reward, double reference_point, bool desirable) {
    const double above = reward - b * reference_point;
    return desirable ? above : -above;
}

/* 1 - sigmoid(u) = sigmoid(-u) */
double qa_kto_loss(double utility, double weight, double responses) {
    return weight * qa_m9_wrong_order(utility) / responses;
}

/* dL/du = -w sigmoid(u) sigmoid(-u) / responses and du/d log pi = +b of a desirable response, -b of the other. */
double qa_kto_token_gradient(double b, double utility, bool desirable, double weight, double responses) {
    const double slope = weight * qa_m9_wrong_order(utility) * qa_m9_wrong_order(-utility) / responses;
    return desirable ? -b * slope : b * slope;
}
