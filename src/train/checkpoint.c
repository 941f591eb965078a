/* See checkpoint.h. */
#include "train/checkpoint.h"

#include "base/try.h"

void qa_checkpoint_position(const qa_plan *plan, size_t step, size_t *epoch, size_t *pairs_done) {
    const qa_batch next = qa_plan_batch(plan, step);
    *epoch = next.epoch;
    *pairs_done = next.first;
}

static qa_status write_adapter(const void *user, const char *dir, qa_error *err) {
    const qa_checkpoint *c = user;
    return qa_adapter_save(c->adapter, dir, c->base_model, err);
}

/* The run's state after `step` steps, without its order. */
static qa_run_state state_of(const qa_checkpoint *c, size_t step) {
    qa_run_state state = {.parameters = c->adapter->parameters,
                          .m = c->m,
                          .v = c->v,
                          .count = c->adapter->count,
                          .items = c->plan->pairs,
                          .unit = "pairs",
                          .step = step,
                          .total_steps = c->plan->total_steps,
                          .evaluated = c->evaluated,
                          .metrics_bytes = c->metrics_bytes,
                          .agreement = c->agreement,
                          .logger = c->logger,
                          .config = c->config,
                          .write_model = write_adapter,
                          .user = c};
    qa_checkpoint_position(c->plan, step, &state.epoch, &state.items_done);
    return state;
}

qa_status qa_checkpoint_save(const qa_checkpoint *c, const char *out_dir, qa_error *err) {
    qa_run_state state = state_of(c, c->step);
    state.order = c->order;
    return qa_run_state_save(&state, out_dir, err);
}

qa_status qa_checkpoint_load(qa_checkpoint *c, qa_adapter *adapter, size_t *order, const char *out_dir, size_t step,
                             qa_error *err) {
    qa_run_state state = state_of(c, step);
    state.parameters = adapter->parameters;
    qa_epoch_order(order, c->plan->pairs, c->shuffle, c->seed, state.epoch);
    state.order = order;
    QA_TRY(qa_run_state_load(&state, out_dir, err));
    c->step = step;
    c->evaluated = state.evaluated;
    c->metrics_bytes = state.metrics_bytes;
    return QA_OK;
}
