/* pairs: two different answers to the same prompt, the preferred one drawn by Bradley-Terry:
 *
 *     P(first preferred) = sigmoid(r2(first) - r2(second)),   r2 = R nats for the wanted class, else 0,
 *
 * and then turned round with the probability of label noise. Answers of equal reward are labelled by a coin and teach
 * nothing; with the probability `mixed` a pair must have one answer of the wanted class and one of another. Which pairs
 * are shown does not change what their labels say of r2. Probabilities are rounded to 32 bits, so that a last bit of
 * exp() cannot make two machines differ. */
#include "village/classify.h"
#include "village/commands.h"
#include "village/samples.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "base/try.h"
#include "io/file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_REPEATS = 20000 };

/* Everything that making pairs needs. */
typedef struct maker {
    const vl_pairs_options *options;
    vl_classifier classifier;
    size_t wanted; /* class */
    vl_samples samples;
    size_t *groups;  /* [n_groups + 1]: where the samples of each prompt begin */
    size_t n_groups; /* prompts with two different answers */
    size_t *ends;    /* [n_groups] */
    vl_set made;     /* prompt and the two answers */
} maker;

/* True with probability p, rounded to 32 bits. */
static bool happens(qa_rng *rng, double p) {
    const uint64_t threshold = (uint64_t)(p * 4294967296.0 + 0.5);
    return (qa_rng_bits(rng) >> 32) < threshold;
}

static bool is_wanted(const maker *m, const vl_sample *sample) {
    return vl_class_of(&m->classifier, sample->answer, strlen(sample->answer)) == m->wanted;
}

/* Sorts the samples and keeps the prompts that have two different answers. */
static qa_status find_groups(maker *m, qa_error *err) {
    const vl_samples *s = &m->samples;
    vl_samples_sort(&m->samples);
    QA_TRY(QA_NEW(m->groups, s->n + 1, err, "%zu prompts", s->n));
    QA_TRY(QA_NEW(m->ends, s->n + 1, err, "%zu prompts", s->n));
    for (size_t start = 0, end; start < s->n; start = end) {
        bool differ = false;
        for (end = start + 1; end < s->n && strcmp(s->data[end].prompt, s->data[start].prompt) == 0; end++) {
            differ = differ || strcmp(s->data[end].answer, s->data[start].answer) != 0;
        }
        if (differ) {
            m->groups[m->n_groups] = start;
            m->ends[m->n_groups++] = end;
        }
    }
    QA_FAIL_IF(m->n_groups == 0, err, QA_ERR_FORMAT, "no prompt of the sample files has two different answers");
    return QA_OK;
}

/* Whether this pair, either way round, was not there yet. */
static qa_status is_new(maker *m, const vl_sample *a, const vl_sample *b, bool *added, qa_error *err) {
    qa_text key = {0};
    qa_status status = QA_OK;
    const bool in_order = strcmp(a->answer, b->answer) < 0;
    QA_GOTO(done, qa_text_append_z(&key, a->prompt, err));
    QA_GOTO(done, qa_text_append_z(&key, "\n", err));
    QA_GOTO(done, qa_text_append_z(&key, (in_order ? a : b)->answer, err));
    QA_GOTO(done, qa_text_append_z(&key, "\n", err));
    QA_GOTO(done, qa_text_append_z(&key, (in_order ? b : a)->answer, err));
    QA_GOTO(done, vl_set_add(&m->made, key.data, added, err));
done:
    qa_text_free(&key);
    return status;
}

static void put_answer(qa_json_writer *out, const char *key, const char *answer) {
    qa_json_open_array(out, key, QA_JSON_TIGHT);
    qa_json_put_message(out, "assistant", answer, strlen(answer));
    qa_json_close(out);
}

static void put_pair(qa_json_writer *out, const vl_sample *chosen, const vl_sample *rejected) {
    qa_json_open_object(out, NULL, QA_JSON_TIGHT);
    qa_json_put_raw(out, "prompt", chosen->prompt);
    put_answer(out, "chosen", chosen->answer);
    put_answer(out, "rejected", rejected->answer);
    qa_json_close(out);
    qa_json_end_line(out);
}

static qa_status make_pairs(maker *m, qa_json_writer *out, qa_error *err) {
    const vl_pairs_options *o = m->options;
    qa_rng rng = vl_stream(o->seed, VL_FOR_PAIRS, (unsigned)(o->preference - vl_preferences), 0);
    size_t repeats = 0;
    bool must_mix = happens(&rng, o->mixed);
    while (m->made.n < o->count) {
        bool added = false;
        const size_t g = vl_below(&rng, m->n_groups), n = m->ends[g] - m->groups[g];
        const size_t first = vl_below(&rng, n), other = vl_below(&rng, n - 1);
        const size_t second = other + (other >= first ? 1 : 0);
        const vl_sample *a = &m->samples.data[m->groups[g] + first], *b = &m->samples.data[m->groups[g] + second];
        const bool a_wanted = is_wanted(m, a), b_wanted = is_wanted(m, b);
        if (strcmp(a->answer, b->answer) != 0 && (a_wanted != b_wanted || !must_mix)) {
            QA_TRY(is_new(m, a, b, &added, err));
        }
        if (added) {
            const double p = 1.0 / (1.0 + exp(o->reward * ((b_wanted ? 1 : 0) - (a_wanted ? 1 : 0))));
            const bool preferred = happens(&rng, p), turned = happens(&rng, o->flip), a_wins = preferred != turned;
            put_pair(out, a_wins ? a : b, a_wins ? b : a);
            must_mix = happens(&rng, o->mixed);
        } else if (++repeats > MOST_REPEATS + 20 * o->count) {
            return qa_fail(err, QA_ERR_LIMIT,
                           "only %zu different pairs found in %zu samples, %zu asked for; sample more answers",
                           m->made.n, m->samples.n, o->count);
        }
    }
    return out->status;
}

qa_status vl_write_pairs(const vl_pairs_options *options, qa_error *err) {
    const vl_share *share = &vl_shares[options->preference->share];
    maker m = {.options = options};
    qa_json_writer out = {.err = err};
    qa_status status = QA_OK;
    while (strcmp(share->classes[m.wanted].name, options->preference->wanted) != 0) {
        m.wanted++;
    }
    QA_GOTO(done, vl_classifier_open(&m.classifier, share, err));
    for (size_t i = 0; i < options->n_samples; i++) {
        QA_GOTO(done, vl_samples_read(&m.samples, options->samples[i], err));
    }
    QA_GOTO(done, find_groups(&m, err));
    QA_GOTO(done, make_pairs(&m, &out, err));
    QA_GOTO(done, qa_write_file(options->out, out.text.data, out.text.n, err));
done:
    qa_text_free(&out.text);
    vl_set_free(&m.made);
    vl_classifier_close(&m.classifier);
    vl_samples_free(&m.samples);
    free(m.groups);
    free(m.ends);
    return status;
}
