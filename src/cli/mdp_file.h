/* A customisation problem over a finite MDP, as a JSON file (docs/tabular.md). */
#ifndef QA_CLI_MDP_FILE_H
#define QA_CLI_MDP_FILE_H

#include "rl/tabular.h"

/* Owns its arrays; free with cli_mdp_free. */
typedef struct cli_mdp {
    qa_mdp mdp; /* borrows p and terminal */
    double lambda, alpha1, alpha_tilde;
    double *p;       /* [S x A x S] */
    double *r1, *r2; /* [S x A] */
    bool *terminal;  /* [S] */
} cli_mdp;

/* Reads and checks everything; messages name the file, the member and the element of it. */
QA_MUST_CHECK qa_status cli_mdp_load(cli_mdp *out, const char *path, qa_error *err);
void cli_mdp_free(cli_mdp *problem);

#endif
