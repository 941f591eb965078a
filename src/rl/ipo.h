/* Two losses that regress log-ratios on what labels say, in place of a likelihood. With h(y) = log pi(y) - log
 * pi_ref(y) of a whole response:
 *
 *     IPO    L = mean over pairs of ( h(y_w) - h(y_l) - 1/(2 tau) )^2
 *            (Azar et al. 2023, arXiv 2310.12036, equation 17)
 *     SPPO   L = mean over pairs of ( h(y_w) - eta/2 )^2 + ( h(y_l) + eta/2 )^2
 *            (Wu et al. 2024, arXiv 2405.00675, equation 4.7 with the probability of the winner 1 and of the loser 0)
 *
 * IPO's minimiser over all policies is pi_ref exp( p(y)/tau ) normalised, p(y) being the probability that y is
 * preferred to a response of pi_ref's (equation 7 with the identity; `qadapter tabular learn` enumerates it). With a
 * share eps of the labels turned round p becomes (1 - 2 eps) p + eps: the same as another tau, tau / (1 - 2 eps), so
 * noise needs no other loss here.
 *
 * Both are written in rewards, r = b (log pi - log pi_ref) of a token, b = tau or 1/eta, and R their sum over a
 * response: IPO's z = R(y_w) - R(y_l) is to be 1/2, SPPO's R(y_w) 1/2 and R(y_l) -1/2. */
#ifndef QA_RL_IPO_H
#define QA_RL_IPO_H

/* One pair's share of L, and dL/dz. */
double qa_ipo_loss(double tau, double z, double pairs);
double qa_ipo_slope(double tau, double z, double pairs);

/* One side's share of L, side = +1 preferred, -1 dispreferred, and dL/dR of that side; b = 1/eta. */
double qa_sppo_side_loss(double b, double ret, int side, double pairs);
double qa_sppo_side_slope(double b, double ret, int side, double pairs);

#endif
