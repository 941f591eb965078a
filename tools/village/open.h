/* What open.c and turn_down.c share with each other and with registers.c. */
#ifndef VILLAGE_OPEN_H
#define VILLAGE_OPEN_H

#include "village/registers.h"

bool vl_answer_open(const vl_land *land, qa_rng *rng, const char *prompt, vl_item *item);
bool vl_answer_turn_down(qa_rng *rng, const char *prompt, vl_item *item);

#endif
