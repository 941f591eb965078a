/* See ipo.h. */
#include "rl/ipo.h"

/* h(y_w) - h(y_l) - 1/(2 tau) = (z - 1/2) / tau */
double qa_ipo_loss(double tau, double z, double pairs) {
    const double off = (z - 0.5) / tau;
    return off * off / pairs;
}

double qa_ipo_slope(double tau, double z, double pairs) { return 2.0 * (z - 0.5) / (tau * tau) / pairs; }

/* h(y) -+ eta/2 = (R(y) -+ 1/2) / b */
double qa_sppo_side_loss(double b, double ret, int side, double pairs) {
    return qa_ipo_loss(b, (double)side * ret, pairs);
}

double qa_sppo_side_slope(double b, double ret, int side, double pairs) {
    return (double)side * qa_ipo_slope(b, (double)side * ret, pairs);
}
