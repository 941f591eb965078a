/* What the readers of preference data note on the way and say once at the end (pairs.h). */
#include "data/pairs.h"

#include "base/try.h"
#include "base/warnings.h"

/* What was taken as it stands but may not be meant: what, and what of it. */
static const char *const SEEN[QA_SEEN_KINDS][2] = {
    [QA_SEEN_REPEATED_PROMPT] = {"responses that repeat their prompt",
                                 "it stands in front of them already and is so there twice; a response beside a prompt "
                                 "is the answer alone (leave the prompt out where the responses are whole dialogues)"},
    [QA_SEEN_OPEN_PROMPT] = {"prompts that end in a space",
                             "it stays a token of the prompt, where programs that encode prompt and response as one "
                             "text (TRL) make it part of the response's first word, and so does a model by itself; "
                             "begin the responses with it instead"},
    [QA_SEEN_LATE_END] = {"responses of token ids with white space behind their end token",
                          "they count as cut off: leave it out, say \"terminal\": true, or take them as a template "
                          "writes them (response_end template)"},
    [QA_SEEN_DOUBLED_END] = {"answers that bring an end token of their own",
                             "the chat template's stands behind it: leave it out of the messages, or give text that is "
                             "already rendered"},
    [QA_SEEN_TWO_BEGINNINGS] = {"prompts that bring the beginning-of-sequence token behind white space, or twice",
                                "it stands in front of them once more; take it out, or the white space before it"},
    [QA_SEEN_INNER_END] = {"responses with an end token inside",
                           "what stands behind it is trained too, but generation stops there and never writes it"},
    [QA_SEEN_OTHER_END] = {"responses that end with a special token which ends no generated answer",
                           "the end-of-sequence token stands behind it; list it under \"eos_token_id\" in the model's "
                           "generation_config.json if it is to end answers"},
    [QA_SEEN_JSON_TEXT] = {"texts that are a conversation written as JSON",
                           "they are taken as the text that they are: write the messages as a list, not as a string"},
    [QA_SEEN_LOOSE_MARK] = {"dialogues with what looks like the mark of a turn (Human:, Assistant:) and is none",
                            "it is text of the turn before; behind the colon of a mark stands one space"},
    [QA_SEEN_RATED_WORSE] = {"pairs whose chosen response is rated below the rejected one",
                             "it counts as the better one all the same: exchange the two, or leave such pairs out"},
    [QA_SEEN_RATED_EQUAL] = {"pairs whose responses are rated alike",
                             "the chosen one counts as the better one all the same"},
    [QA_SEEN_OTHER_PROMPT] = {"dialogues whose prompt the chat template writes otherwise once they are answered",
                              "training and generation both begin answers behind what it writes without the answer"},
    [QA_SEEN_INSERTED] = {"dialogues between whose prompt and answer the chat template writes more than white space",
                          "it is left out: the answer is trained right behind its prompt, where generation begins "
                          "(--response-end template takes it, as TRL does)"},
    [QA_SEEN_REWRITTEN] = {"answers of which the chat template would cut or change a part, such as a thought",
                           "they are trained as they stand"},
    [QA_SEEN_NO_SYSTEM] = {"dialogues whose system message the chat template leaves out",
                           "the model does not see it: put it into the first question, or leave it out"},
};

/* What strict says where it is no warning. */
static const char *const REFUSED[QA_SEEN_KINDS] = {
    [QA_SEEN_REPEATED_PROMPT] = "the response repeats the prompt, which stands in front of it already: a response "
                                "beside a prompt is the answer alone",
    [QA_SEEN_JSON_TEXT] = "a text is a conversation written as JSON: write its messages as a list, not as a string",
    [QA_SEEN_RATED_WORSE] = "\"chosen\" is not rated above \"rejected\"",
    [QA_SEEN_RATED_EQUAL] = "\"chosen\" is not rated above \"rejected\"",
};

void qa_pairs_note(qa_pairs_loader *loader, qa_pairs_seen what, bool seen) {
    if (seen && loader->seen[what].count++ == 0) {
        loader->seen[what].first = loader->line;
    }
}

qa_status qa_pairs_note_or_refuse(qa_pairs_loader *loader, qa_pairs_seen what, bool seen, qa_error *err) {
    qa_pairs_note(loader, what, seen);
    return seen && loader->options->strict
               ? qa_fail(err, QA_ERR_FORMAT, "%s (without --strict, a warning)", REFUSED[what])
               : QA_OK;
}

qa_status qa_pairs_check_strict(const qa_pairs_loader *loader, qa_error *err) {
    return !loader->options->strict || loader->columns.n == 0
               ? QA_OK
               : qa_fail(err, QA_ERR_FORMAT,
                         "%s: a key that holds something and is not used (without --strict, a warning)",
                         loader->columns.names[0]);
}

/* One line each. */
void qa_pairs_warn_of_seen(const qa_pairs_loader *loader, const char *name) {
    qa_warnings *warnings = &loader->pairs->warnings;
    qa_columns_warn(&loader->columns, name, warnings);
    for (int what = 0; what < QA_SEEN_KINDS; what++) {
        if (loader->seen[what].count > 0) {
            qa_warn(warnings, "%s: %s: %zu (first: %s %zu); %s", name, SEEN[what][0], loader->seen[what].count,
                    loader->pairs->report.elements ? "element" : "line", loader->seen[what].first, SEEN[what][1]);
        }
    }
}
