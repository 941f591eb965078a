/* --adapter A:0.5 --adapter B:0.5: several adapters as one policy (M12), each read as it was trained. */
#include "cli/mixture.h"

#include "base/memory.h"
#include "base/try.h"
#include "cli/weights.h"
#include "io/file.h"
#include "io/json.h"
#include "text/chat_open.h"

#include <stdlib.h>
#include <string.h>

/* ---- what the options say ---- */

static bool is_folder(const void *of, const char *path) {
    (void)of;
    return qa_path_exists(path);
}

qa_status cli_take_adapter_weights(cli_run *run, cli_args *args, qa_error *err) {
    qa_option_list one = {.items = &args->adapter, .n = args->adapter == NULL ? 0 : 1, .capacity = 1};
    double *weights = NULL;
    QA_TRY(cli_take_weights(run, "adapter", &args->adapters, &run->weights, is_folder, NULL, err));
    QA_TRY(cli_take_weights(run, "adapter", &one, &weights, is_folder, NULL, err));
    const bool weighted = weights != NULL;
    free(weights);
    return weighted ? cli_no_weights(run, err) : QA_OK;
}

qa_status cli_no_weights(cli_run *run, qa_error *err) {
    return cli_bad_usage(run, err,
                         "--adapter DIR:WEIGHT makes a mixture of policies, which `generate` and `eval --suite` know, "
                         "and `serve` by a model's name in a request, mix:NAME=0.5; here an adapter has no weight");
}

const qa_mixture *cli_mixture(const cli_run *run) { return run->mixture.n > 0 ? &run->mixture : NULL; }

/* ---- loading ---- */

static bool differ(const char *a, const char *b) { return a[0] != '\0' && b[0] != '\0' && strcmp(a, b) != 0; }

/* What the adapters' records say of what they were trained on. */
static qa_status check_trained_alike(cli_run *run, qa_error *err) {
    const qa_option_list *dirs = &run->args->adapters;
    qa_base_record first = {0};
    QA_TRY(qa_training_config_base(dirs->items[0], &first, err));
    for (size_t i = 1; i < dirs->n && !run->args->any_base; i++) {
        qa_base_record record = {0};
        QA_TRY(qa_training_config_base(dirs->items[i], &record, err));
        QA_FAIL_IF(
            differ(first.fingerprint, record.fingerprint), err, QA_ERR_MISMATCH,
            "%s was trained on %.200s and %s on %.200s, which are different models: policies of one model can be "
            "mixed (or go on all the same with --any-base)",
            dirs->items[0], first.name, dirs->items[i], record.name);
        QA_FAIL_IF(differ(first.tokenizer, record.tokenizer), err, QA_ERR_MISMATCH,
                   "%s and %s were trained with the files of different tokenizers: the same text is other tokens in "
                   "each (or go on all the same with --any-base)",
                   dirs->items[0], dirs->items[i]);
    }
    return QA_OK;
}

/* A copy of an adapter counts as the adapter. */
static qa_status check_copies(const cli_run *run, qa_error *err) {
    char mine[QA_FINGERPRINT_BYTES], other[QA_FINGERPRINT_BYTES];
    const size_t last = run->mixture.n - 1;
    qa_adapter_fingerprint(run->parts[last].adapter, mine);
    for (size_t i = 0; i < last; i++) {
        qa_adapter_fingerprint(run->parts[i].adapter, other);
        QA_FAIL_IF(strcmp(mine, other) == 0, err, QA_ERR_ARGUMENT,
                   "%s and %s are the same adapter: give it once, with the weight %g", run->args->adapters.items[i],
                   run->args->adapters.items[last], run->parts[i].weight + run->parts[last].weight);
    }
    return QA_OK;
}

static qa_status load_part(cli_run *run, size_t i, qa_error *err) {
    const char *dir = run->args->adapters.items[i];
    qa_mixture_part *part = &run->parts[i];
    cli_use_adapter(run, dir);
    cli_say(run, "%s, weight %g", dir, run->weights[i]);
    QA_TRY(cli_resolve_objective(run, &part->objective, NULL, err));
    QA_TRY(cli_load_adapter(run, err));
    part->adapter = run->adapter;
    part->weight = run->weights[i];
    run->adapter = NULL; /* it is the part's now */
    run->mixture.n = i + 1;
    return cli_usage_if(run, check_copies(run, err));
}

qa_status cli_load_mixture(cli_run *run, qa_error *err) {
    const qa_option_list *dirs = &run->args->adapters;
    if (dirs->n > QA_MIXTURE_PARTS) {
        return cli_bad_usage(run, err, "a mixture has at most %d adapters, and %zu are given", (int)QA_MIXTURE_PARTS,
                             dirs->n);
    }
    QA_TRY(check_trained_alike(run, err));
    QA_TRY(QA_NEW(run->parts, dirs->n, err, "%zu adapters", dirs->n));
    run->mixture.parts = run->parts;
    for (size_t i = 0; i < dirs->n; i++) {
        QA_TRY(load_part(run, i, err));
    }
    cli_use_adapter(run, dirs->items[0]); /* whose record counts where all must agree */
    return qa_mixture_check(&run->mixture, err);
}

/* ---- how dialogues are written ---- */

qa_status cli_agree_on_chat(cli_run *run, const qa_option_list *dirs, const qa_chat **chat, bool *assumed,
                            qa_error *err) {
    json_t *record = NULL;
    qa_status status = QA_OK;
    for (size_t i = 0; status == QA_OK && (i == 0 || i < dirs->n); i++) {
        if (dirs->n > 0) {
            cli_use_adapter(run, dirs->items[i]);
        }
        cli_forget_chat(run);
        status = cli_resolve_chat(run, chat, assumed, err);
        json_t *now = status != QA_OK || *chat == NULL ? NULL : json_deep_copy(qa_chat_record(*chat));
        const bool same = i == 0 || now == record || (now != NULL && record != NULL && json_equal(now, record) == 1);
        json_decref(record);
        record = now;
        if (status == QA_OK && !same) {
            status = qa_fail(err, QA_ERR_MISMATCH,
                             "%s and %s were trained with different chat templates: --chat-template says which one to "
                             "take",
                             dirs->items[i - 1], dirs->items[i]);
        }
    }
    json_decref(record);
    return status;
}

/* ---- what is said of it ---- */

qa_status cli_mixture_text(const cli_run *run, qa_text *text, qa_error *err) {
    for (size_t i = 0; i < run->mixture.n; i++) {
        char weight[32];
        (void)snprintf(weight, sizeof weight, ":%g", run->parts[i].weight);
        QA_TRY(qa_text_append_z(text, i == 0 ? "" : " + ", err));
        QA_TRY(qa_text_append_z(text, run->args->adapters.items[i], err));
        QA_TRY(qa_text_append_z(text, weight, err));
    }
    return QA_OK;
}

void cli_mixture_put(qa_json_writer *out, const cli_run *run) {
    if (run->mixture.n == 0) {
        return;
    }
    qa_json_open_array(out, "mixture", QA_JSON_LINE);
    for (size_t i = 0; i < run->mixture.n; i++) {
        qa_json_open_object(out, NULL, QA_JSON_LINE);
        qa_json_put_string(out, "adapter", run->args->adapters.items[i]);
        qa_json_put_number(out, "weight", run->parts[i].weight);
        qa_json_close(out);
    }
    qa_json_close(out);
}
