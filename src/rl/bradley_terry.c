/* See bradley_terry.h. The terms of z = c_k - r_k are those of (M9) and (M10). */
#include "rl/bradley_terry.h"

#include "rl/equations.h"

double qa_bradley_terry_loss(const double *chosen, const double *rejected, size_t outputs, double centering,
                             double pairs) {
    const double divisor = pairs * (double)outputs;
    double loss = 0.0;
    for (size_t k = 0; k < outputs; k++) {
        const double sum = chosen[k] + rejected[k];
        loss += qa_m10_preference_loss(chosen[k] - rejected[k], 0.0, divisor) + centering * sum * sum / divisor;
    }
    return loss;
}

void qa_bradley_terry_gradient(double *dchosen, double *drejected, const double *chosen, const double *rejected,
                               size_t outputs, double centering, double pairs) {
    const double divisor = pairs * (double)outputs;
    for (size_t k = 0; k < outputs; k++) {
        const double of_z = -qa_m9_wrong_order(chosen[k] - rejected[k]) / divisor;
        const double of_sum = 2.0 * centering * (chosen[k] + rejected[k]) / divisor;
        dchosen[k] = of_z + of_sum;
        drejected[k] = -of_z + of_sum;
    }
}
