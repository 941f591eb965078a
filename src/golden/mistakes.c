/* See mistakes.h. A mistake is a table entry: how the computation differs, and on which bundles it can. */
#include "golden/mistakes.h"

#include "golden/rows.h"

#include <math.h>
#include <string.h>

const char *qa_golden_mistake_name(qa_golden_mistake mistake) {
    static const char *const names[QA_MISTAKES] = {
        [QA_MISTAKE_BOS] = "double-bos",
        [QA_MISTAKE_SIDES] = "sides-exchanged",
        [QA_MISTAKE_ROPE] = "rope-interleaved",
        [QA_MISTAKE_LOG_SOFTMAX] = "log-softmax-missing",
        [QA_MISTAKE_LORA_EXCHANGED] = "lora-exchanged",
        [QA_MISTAKE_LORA_SCALE] = "lora-scale",
        [QA_MISTAKE_LORA_RSLORA] = "lora-rslora",
        [QA_MISTAKE_LORA_OFF] = "lora-off",
        [QA_MISTAKE_PARAMETRISATION] = "parametrisation",
        [QA_MISTAKE_ALPHA_0] = "alpha-0-on-logits",
        [QA_MISTAKE_VALUE_STATE] = "value-state",
        [QA_MISTAKE_MASK] = "mask-off-by-one",
        [QA_MISTAKE_PAD] = "pad-transition",
        [QA_MISTAKE_DIVISOR] = "return-divisor",
        [QA_MISTAKE_GAMMA_POWERS] = "gamma-powers",
        [QA_MISTAKE_CLASSES] = "classes-exchanged",
        [QA_MISTAKE_CUT_OFF] = "cut-off-is-terminal",
        [QA_MISTAKE_VALUE_SCALE] = "outer-alpha-tilde",
        [QA_MISTAKE_Q_LOG_SOFTMAX] = "q-log-softmax",
        [QA_MISTAKE_VALUE_STOPPED] = "value-stop-gradient",
        [QA_MISTAKE_MEANS] = "mean-of-means",
        [QA_MISTAKE_SUM] = "sum-over-pairs",
        [QA_MISTAKE_GAMMA_PROMPT] = "gamma-from-prompt",
        [QA_MISTAKE_WEIGHT_DECAY] = "weight-decay",
        [QA_MISTAKE_LEARNING_RATE] = "learning-rate",
        [QA_MISTAKE_BIAS_CORRECTION] = "bias-correction",
        [QA_MISTAKE_EPSILON] = "epsilon-inside",
        [QA_MISTAKE_CLIPPING] = "clipping",
        [QA_MISTAKE_FLOAT32] = "float32",
    };
    return mistake < QA_MISTAKES ? names[mistake] : "unknown";
}

/* What a trial needs of the bundle. */
enum {
    THEORY = 1 << 0,
    PUBLISHED = 1 << 1,
    HAS_BOS = 1 << 2,
    HAS_EOS = 1 << 3,
    DISCOUNTED = 1 << 4,
    WITH_ALPHA_0 = 1 << 5,
    NORMALISED = 1 << 6,     /* by length */
    NOT_NORMALISED = 1 << 7, /* ... under theory */
    SQUARE = 1 << 8,         /* an adapted linear map with as many inputs as outputs */
    SCALED = 1 << 9,         /* alpha_tilde is not 1 */
    REGULARISED = 1 << 10,
    SEVERAL = 1 << 11,       /* pairs */
    MICRO_BATCHES = 1 << 12, /* more than one */
    CUT = 1 << 13,           /* a response that was cut off */
    CLIPPED = 1 << 14,       /* gradients have a largest norm */
    STEPS = 1 << 15          /* two or more */
};

typedef enum scale { SCALE_RIGHT, SCALE_ALPHA, SCALE_OTHER, SCALE_ZERO } scale;

typedef struct entry {
    qa_golden_mistake mistake;
    int needs;
    scale scale;
    bool names_exchanged, optimiser;
    qa_golden_variant variant; /* but for the scale */
    const char *text;
} entry;

static const entry entries[] = {
    {.mistake = QA_MISTAKE_BOS,
     .needs = HAS_BOS,
     .variant = {.extra_bos = true},
     .text = "every row starts with one more beginning-of-sequence token than it should (a template wrote one, and the "
             "tokenizer added another)"},
    {.mistake = QA_MISTAKE_SIDES,
     .variant = {.sides_exchanged = true},
     .text = "the chosen and the rejected response are taken for each other from the start"},
    {.mistake = QA_MISTAKE_ROPE,
     .variant = {.slips = {.rope_interleaved = true}},
     .text = "RoPE turns the interleaved components 2i and 2i+1, where Hugging Face weights need i and i + head_dim/2"},
    {.mistake = QA_MISTAKE_LOG_SOFTMAX,
     .variant = {.raw_log_pi1 = true},
     .text = "log pi1 is missing its log-softmax: it is the base model's raw logits"},
    {.mistake = QA_MISTAKE_LORA_EXCHANGED,
     .needs = SQUARE,
     .variant = {.slips = {.lora_exchanged = true}},
     .text = "A and B of the LoRA branch are exchanged (A^T B^T is added where the linear map is square, not B A)"},
    {.mistake = QA_MISTAKE_LORA_EXCHANGED,
     .names_exchanged = true,
     .text = "the tensors of A and B are stored under each other's name"},
    {.mistake = QA_MISTAKE_LORA_SCALE,
     .scale = SCALE_ALPHA,
     .text = "the LoRA branch is scaled by lora_alpha itself, not divided by the rank (or its root, with rslora)"},
    {.mistake = QA_MISTAKE_LORA_RSLORA,
     .scale = SCALE_OTHER,
     .text =
         "use_rslora is read wrongly: the LoRA branch is scaled by alpha / r where alpha / sqrt(r) is meant, or the "
         "other way round"},
    {.mistake = QA_MISTAKE_LORA_OFF, .scale = SCALE_ZERO, .text = "the adapter is not applied at all"},
    {.mistake = QA_MISTAKE_PARAMETRISATION,
     .variant = {.other_q = true},
     .text = "Q is taken in the other parametrisation (logits: z itself; residual: z minus the base model's logits)"},
    {.mistake = QA_MISTAKE_ALPHA_0,
     .needs = WITH_ALPHA_0,
     .variant = {.alpha_0_on_logits = true},
     .text = "alpha_0 multiplies the base model's logits, not its log-probabilities"},
    {.mistake = QA_MISTAKE_ALPHA_0,
     .needs = WITH_ALPHA_0,
     .variant = {.alpha_0_in_value = true},
     .text = "alpha_0 multiplies the base model's logits, not its log-probabilities, in the value (but not in log pi)"},
    {.mistake = QA_MISTAKE_VALUE_STATE,
     .needs = THEORY,
     .variant = {.value_misplaced = true},
     .text = "the value is taken at the same state, r = Q(s,a) - gamma V(s), where theory subtracts the next state's"},
    {.mistake = QA_MISTAKE_VALUE_STATE,
     .needs = PUBLISHED,
     .variant = {.value_misplaced = true},
     .text = "the value is taken at the next state, where the published objective subtracts the same state's"},
    {.mistake = QA_MISTAKE_MASK,
     .variant = {.mask = QA_MASK_LATE},
     .text = "the response mask is off by one: the first transition that counts is left out"},
    {.mistake = QA_MISTAKE_MASK,
     .variant = {.mask = QA_MASK_EARLY},
     .text = "the response mask is off by one: the transition before the first that counts is counted as well"},
    {.mistake = QA_MISTAKE_MASK,
     .needs = THEORY | HAS_EOS,
     .variant = {.mask = QA_MASK_STATE_TOKEN},
     .text = "the response mask is off by one: it asks whether the state's last token belongs to the response, not "
             "whether the action does, so the first action is left out and one into padding counted"},
    {.mistake = QA_MISTAKE_PAD,
     .needs = THEORY | HAS_EOS,
     .variant = {.pad = QA_PAD_ZERO},
     .text = "the transition into padding is counted in rows shorter than the longest (with no value after it)"},
    {.mistake = QA_MISTAKE_PAD,
     .needs = THEORY | HAS_EOS,
     .variant = {.pad = QA_PAD_VALUE},
     .text = "the transition into padding is counted in rows shorter than the longest (with the value after it)"},
    {.mistake = QA_MISTAKE_PAD,
     .needs = PUBLISHED,
     .variant = {.pad = QA_PAD_DROPPED},
     .text = "the transition into padding is left out, which the published objective counts"},
    {.mistake = QA_MISTAKE_DIVISOR,
     .needs = THEORY,
     .variant = {.divisor = QA_DIVISOR_PADDED_1},
     .text = "the return is divided by the padded length minus 1, which belongs to the published objective"},
    {.mistake = QA_MISTAKE_DIVISOR,
     .variant = {.divisor = QA_DIVISOR_PADDED},
     .text = "the return is divided by the padded length"},
    {.mistake = QA_MISTAKE_DIVISOR,
     .variant = {.divisor = QA_DIVISOR_OWN_1},
     .text = "the return is divided by the row's own length minus 1"},
    {.mistake = QA_MISTAKE_DIVISOR,
     .needs = NOT_NORMALISED,
     .variant = {.divisor = QA_DIVISOR_COUNT},
     .text = "the return is divided by the number of counted transitions"},
    {.mistake = QA_MISTAKE_DIVISOR,
     .needs = NORMALISED,
     .variant = {.divisor = QA_DIVISOR_NONE},
     .text = "the return is not divided by anything"},
    {.mistake = QA_MISTAKE_GAMMA_POWERS,
     .needs = THEORY | DISCOUNTED,
     .variant = {.gamma_from_1 = true},
     .text = "the powers of gamma start at 1 (c_t = gamma^(t+1)), not at 0"},
    {.mistake = QA_MISTAKE_CLASSES,
     .variant = {.classes_exchanged = true},
     .text = "the two classes are exchanged: the loss prefers the rejected response"},
    {.mistake = QA_MISTAKE_CUT_OFF,
     .needs = THEORY | CUT,
     .variant = {.cut_is_terminal = true},
     .text = "a response that was cut off is taken for one that ended: its last reward subtracts no value"},
    {.mistake = QA_MISTAKE_VALUE_SCALE,
     .needs = SCALED,
     .variant = {.value_unscaled = true},
     .text = "the value lacks the alpha_tilde in front of its logarithm: V = log sum exp(x / alpha_tilde)"},
    {.mistake = QA_MISTAKE_Q_LOG_SOFTMAX,
     .variant = {.q_log_softmax = true},
     .text = "Q is made of the adapted model's log-probabilities, not of its logits"},
    {.mistake = QA_MISTAKE_VALUE_STOPPED,
     .variant = {.value_stopped = true},
     .text = "no gradient goes through the value (it is detached, as a target network's would be)"},
    {.mistake = QA_MISTAKE_MEANS,
     .needs = REGULARISED | SEVERAL,
     .variant = {.means = QA_MEANS_OF_PAIRS},
     .text = "the regulariser is the mean of the pairs' own means, not one mean over all counted transitions"},
    {.mistake = QA_MISTAKE_MEANS,
     .needs = REGULARISED,
     .variant = {.means = QA_MEANS_OF_RESPONSES},
     .text = "the regulariser is the mean of the responses' own means, not one mean over all counted transitions"},
    {.mistake = QA_MISTAKE_MEANS,
     .needs = PUBLISHED | MICRO_BATCHES,
     .variant = {.means = QA_MEANS_WHOLE},
     .text =
         "the means are taken over the whole step, where the published objective averages the micro-batches' means"},
    {.mistake = QA_MISTAKE_SUM,
     .needs = SEVERAL,
     .variant = {.means = QA_SUM_OF_PAIRS},
     .text = "the preference loss is summed over pairs, not averaged"},
    {.mistake = QA_MISTAKE_SUM,
     .variant = {.means = QA_SUMS},
     .text = "the preference loss is summed over pairs and the regulariser over transitions, neither is averaged"},
    {.mistake = QA_MISTAKE_GAMMA_PROMPT,
     .needs = THEORY | DISCOUNTED,
     .variant = {.gamma_from_prompt = true},
     .text = "the powers of gamma count from the prompt's start (c_t = gamma^(prompt tokens + t))"},
    {.mistake = QA_MISTAKE_GAMMA_PROMPT,
     .needs = THEORY | DISCOUNTED,
     .variant = {.gamma_from_state = true},
     .text = "the powers of gamma count from the prompt's start (c_t = gamma^(prompt tokens - 1 + t))"},
    {.mistake = QA_MISTAKE_WEIGHT_DECAY,
     .optimiser = true,
     .variant = {.optimiser = {.weight_decay = 0.01}},
     .text = "the optimiser decays weights by 0.01 more than the bundle says (0.01 is the default of PyTorch's AdamW)"},
    {.mistake = QA_MISTAKE_LEARNING_RATE,
     .optimiser = true,
     .text = "the learning rate is another one: all steps are longer or shorter by one factor"},
    {.mistake = QA_MISTAKE_LEARNING_RATE,
     .needs = STEPS,
     .optimiser = true,
     .variant = {.optimiser = {.rate_falls = true}},
     .text = "the learning rate falls linearly to 0, where it should stay the same"},
    {.mistake = QA_MISTAKE_BIAS_CORRECTION,
     .optimiser = true,
     .variant = {.optimiser = {.no_bias_correction = true}},
     .text = "Adam's moments lack their bias correction"},
    {.mistake = QA_MISTAKE_EPSILON,
     .optimiser = true,
     .variant = {.optimiser = {.epsilon_inside = true}},
     .text = "Adam's epsilon is added inside the square root"},
    {.mistake = QA_MISTAKE_CLIPPING,
     .needs = CLIPPED,
     .optimiser = true,
     .variant = {.optimiser = {.no_clipping = true}},
     .text = "gradients are not clipped to the largest norm"},
    {.mistake = QA_MISTAKE_FLOAT32,
     .variant = {.slips = {.rope_float32 = true}},
     .text = "RoPE's tables are computed in single precision, as transformers does in every dtype"},
};

size_t qa_golden_trials(void) { return sizeof entries / sizeof entries[0]; }

static bool has_square(const qa_adapter *adapter) {
    for (size_t i = 0; i < adapter->layers * QA_TARGETS; i++) {
        if (adapter->places[i].present && adapter->places[i].in == adapter->places[i].out) {
            return true;
        }
    }
    return false;
}

static bool has_cut(const qa_pairs *pairs) {
    for (size_t i = 0; i < qa_pairs_count(pairs); i++) {
        if (!qa_pairs_at(pairs, i)->chosen_terminal || !qa_pairs_at(pairs, i)->rejected_terminal) {
            return true;
        }
    }
    return false;
}

static int what_it_has(const qa_golden_bundle *bundle) {
    const qa_objective *o = &bundle->options.objective;
    const qa_model_info *info = qa_model_get_info(bundle->model);
    const bool published = o->kind == QA_PUBLISHED;
    int has = published ? PUBLISHED : THEORY;
    has |= qa_golden_has_bos(bundle->model) ? HAS_BOS : 0;
    has |= info->n_eos > 0 ? HAS_EOS : 0;
    has |= o->gamma < 1.0 ? DISCOUNTED : 0;
    has |= o->alpha_0 > 0.0 ? WITH_ALPHA_0 : 0;
    has |= published || o->length_normalisation ? NORMALISED : 0;
    has |= published || !o->length_normalisation ? NOT_NORMALISED : 0;
    has |= has_square(bundle->adapter) ? SQUARE : 0;
    has |= o->alpha_tilde != 1.0 ? SCALED : 0;
    has |= o->beta > 0.0 ? REGULARISED : 0;
    has |= qa_pairs_count(bundle->pairs) > 1 ? SEVERAL : 0;
    has |= bundle->options.micro_batch > 0 && bundle->options.micro_batch < qa_pairs_count(bundle->pairs)
               ? MICRO_BATCHES
               : 0;
    has |= has_cut(bundle->pairs) ? CUT : 0;
    has |= bundle->options.max_grad_norm > 0.0 ? CLIPPED : 0;
    has |= bundle->options.steps > 1 ? STEPS : 0;
    return has;
}

static double scale_factor(const qa_adapter *adapter, scale which) {
    const double alpha = adapter->options.alpha, rank = (double)adapter->options.rank;
    switch (which) {
    case SCALE_RIGHT: return 1.0;
    case SCALE_ALPHA: return alpha / adapter->scale;
    case SCALE_OTHER: return (adapter->options.use_rslora ? alpha / rank : alpha / sqrt(rank)) / adapter->scale;
    case SCALE_ZERO: return 0.0;
    }
    return 1.0;
}

bool qa_golden_trial_make(qa_golden_trial *trial, size_t number, const qa_golden_bundle *bundle) {
    const entry *it = &entries[number];
    const double factor = scale_factor(bundle->adapter, it->scale);
    const bool one_scale = bundle->adapter->uniform || it->scale == SCALE_RIGHT || it->scale == SCALE_ZERO;
    if (!one_scale || (it->needs & ~what_it_has(bundle)) != 0 || (it->scale != SCALE_RIGHT && factor == 1.0)) {
        return false;
    }
    *trial = (qa_golden_trial){.mistake = it->mistake,
                               .text = it->text,
                               .variant = it->variant,
                               .optimiser = it->optimiser,
                               .names_exchanged = it->names_exchanged};
    trial->variant.slips.lora_scale_factor = factor;
    return true;
}

/* lora_A <-> lora_B in the names of gradients and stepped tensors. */
static void exchange_names(qa_golden_set *set) {
    for (size_t i = 0; i < set->n; i++) {
        char *at = strstr(set->tensors[i].name, ".lora_");
        if (at != NULL) {
            at[6] = at[6] == 'A' ? 'B' : 'A';
        }
    }
}

qa_status qa_golden_trial_run(qa_golden_set *set, const qa_golden_bundle *bundle, const qa_golden_trial *trial,
                              bool gradients, bool steps, qa_error *err) {
    qa_golden_options options = bundle->options;
    qa_golden_variant variant = trial->variant;
    options.steps = steps ? options.steps : 0;
    variant.forward_only = !gradients && !steps;
    const qa_status status = qa_golden_run(set, bundle->model, bundle->adapter, bundle->pairs, &options, &variant, err);
    if (status == QA_OK && trial->names_exchanged) {
        exchange_names(set);
    }
    return status;
}
