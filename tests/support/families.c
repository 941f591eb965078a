/* See families.h. */
#include "support/families.h"

#include "arch/families.h"

#include <check.h>
#include <string.h>

/* What some families ask for beside the sizes. */
static const struct family_extra {
    const char *model_type, *members;
} family_extras[] = {
    {"granitemoehybrid", "{\"num_local_experts\": 0, \"layer_types\": [\"attention\", \"attention\", \"attention\"], "
                         "\"mamba_n_heads\": 4, \"mamba_d_head\": 8}"},
    {"gpt_neox", "{\"rotary_pct\": 0.5}"},
    {"stablelm", "{\"partial_rotary_factor\": 0.5}"},
    {"gemma2", "{\"query_pre_attn_scalar\": 9, \"final_logit_softcapping\": 3.0}"},
    {"gemma3_text", "{\"query_pre_attn_scalar\": 6, \"sliding_window\": 8}"},
};

char *qa_family_tiny_config(size_t i) {
    const qa_family *family = qa_family_at(i);
    const struct {
        const char *key;
        int value;
    } sizes[] = {{"hidden_size", 16},        {"intermediate_size", 20},       {"num_hidden_layers", 3},
                 {"num_attention_heads", 4}, {"num_key_value_heads", 2},      {"head_dim", 4},
                 {"vocab_size", 31},         {"max_position_embeddings", 64}, {"bos_token_id", 1},
                 {"eos_token_id", 2}};
    ck_assert_ptr_nonnull(family);
    json_t *root = json_pack("{s:[s],s:s}", "architectures", family->architecture, "model_type", family->model_type);
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        const bool left_out = (family->equal_heads && strcmp(sizes[k].key, "num_key_value_heads") == 0) ||
                              (family->fixed_head_dim && strcmp(sizes[k].key, "head_dim") == 0);
        if (!left_out) {
            (void)json_object_set_new(root, qa_config_key_name(family, sizes[k].key), json_integer(sizes[k].value));
        }
    }
    for (size_t e = 0; e < sizeof family_extras / sizeof *family_extras; e++) {
        if (strcmp(family_extras[e].model_type, family->model_type) == 0) {
            json_t *extra = json_loads(family_extras[e].members, 0, NULL);
            (void)json_object_update(root, extra);
            json_decref(extra);
        }
    }
    char *text = json_dumps(root, 0);
    json_decref(root);
    ck_assert_ptr_nonnull(text);
    return text;
}
