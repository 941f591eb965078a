/* Form 4: "chosen" and "rejected" are whole dialogues in HH-RLHF's notation, a string each. */
#include "base/try.h"
#include "data/form.h"

static bool is_hh(const json_t *row) {
    return json_is_string(qa_pairs_member(row, "chosen")) && json_is_string(qa_pairs_member(row, "rejected")) &&
           qa_pairs_member(row, "prompt") == NULL;
}

/* Two strings without a prompt that are no dialogues: the prompt is under another name. */
static qa_status check_hh(const json_t *row, qa_error *err) {
    const json_t *chosen = qa_pairs_member(row, "chosen"), *rejected = qa_pairs_member(row, "rejected");
    char found[QA_KEYS_BYTES], hint[QA_COLUMN_HINT_BYTES];
    if (qa_looks_like_hh_mark(json_string_value(chosen), json_string_length(chosen)) ||
        qa_looks_like_hh_mark(json_string_value(rejected), json_string_length(rejected))) {
        return QA_OK;
    }
    QA_FAIL_IF(qa_column_holds_messages(chosen), err, QA_ERR_FORMAT,
               "\"chosen\" is a conversation written as JSON into a string: write its messages as a list");
    qa_columns_list(row, true, found);
    return qa_fail(err, QA_ERR_FORMAT,
                   "\"prompt\" is missing%s%s%s, or give whole dialogues in HH-RLHF's notation (\"chosen\" is not an "
                   "HH-RLHF dialogue: it must begin with two newlines and \"Human: \")%s",
                   found[0] != '\0' ? " (found " : "", found, found[0] != '\0' ? "): rename it" : ": add it",
                   qa_column_map_hint(row, QA_COLUMNS_OF_PAIRS, hint));
}

static qa_status add_hh(qa_pairs_loader *loader, const json_t *row, qa_error *err) {
    const json_t *chosen = qa_pairs_member(row, "chosen"), *rejected = qa_pairs_member(row, "rejected");
    bool loose = false;
    loader->left.n = loader->right.n = 0;
    QA_TRY(qa_dialogue_push_hh(&loader->left, json_string_value(chosen), json_string_length(chosen), "chosen", &loose,
                               err));
    QA_TRY(qa_dialogue_push_hh(&loader->right, json_string_value(rejected), json_string_length(rejected), "rejected",
                               &loose, err));
    qa_pairs_note(loader, QA_SEEN_LOOSE_MARK, loose);
    return qa_pairs_add_dialogues(loader, QA_PROMPT_IMPLICIT, true, err);
}

const qa_form qa_form_hh = {.name = "HH-RLHF dialogues",
                            .keys = (const char *const[]){"chosen", "rejected", "prompt", NULL},
                            .needed = 2,
                            .kind = QA_PAIRS_DIALOGUES,
                            .is = is_hh,
                            .check = check_hh,
                            .add = add_hh};
