/* Preference data files: JSON Lines, read line by line, or one JSON array; the first character that is
 * not white space tells which. The finished set holds all ids in one block. */
#include "data/form.h"
#include "data/forms.h"

#include "base/buffer.h"
#include "base/plain_line.h"
#include "base/try.h"
#include "base/warnings.h"
#include "io/input.h"
#include "io/json_lines.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the finished set ---- */

void qa_pairs_free(qa_pairs *pairs) {
    if (pairs != NULL) {
        free(pairs->items);
        qa_ids_free(&pairs->ids);
        qa_warnings_free(&pairs->warnings);
        json_decref(pairs->chat_record);
        free(pairs);
    }
}

size_t qa_pairs_count(const qa_pairs *pairs) { return pairs->n; }
const qa_pair *qa_pairs_at(const qa_pairs *pairs, size_t index) { return &pairs->items[index]; }
const qa_skip_report *qa_pairs_report(const qa_pairs *pairs) { return &pairs->report; }
const char *qa_pairs_format(const qa_pairs *pairs) { return pairs->form->name; }
size_t qa_pairs_longest_prompt(const qa_pairs *pairs) { return pairs->longest_prompt; }
size_t qa_pairs_longest_response(const qa_pairs *pairs) { return pairs->longest_response; }

const qa_warnings *qa_pairs_warnings(const qa_pairs *pairs) { return &pairs->warnings; }
qa_pairs_kind qa_pairs_kind_of(const qa_pairs *pairs) { return pairs->form->kind; }
bool qa_pairs_single(const qa_pairs *pairs) { return pairs->form->responses || pairs->unpaired; }
bool qa_pairs_labelled(const qa_pairs *pairs) { return pairs->labelled; }
size_t qa_pairs_max_length(const qa_pairs *pairs) { return pairs->max_length; }

size_t qa_pairs_undesirable(const qa_pairs *pairs) {
    size_t n = 0;
    for (size_t i = 0; i < pairs->n; i++) {
        n += pairs->items[i].undesirable ? 1 : 0;
    }
    return n;
}

qa_response_end qa_pairs_response_end(const qa_pairs *pairs) { return pairs->response_end; }
bool qa_pairs_published_data(const qa_pairs *pairs) { return pairs->published_data; }
const char *qa_pairs_columns(const qa_pairs *pairs) { return pairs->columns[0] == '\0' ? NULL : pairs->columns; }

qa_chat_template qa_pairs_chat_template(const qa_pairs *pairs) {
    return qa_pairs_kind_of(pairs) == QA_PAIRS_DIALOGUES ? pairs->chat : QA_CHAT_NONE;
}

const char *qa_pairs_writes_behind(const qa_pairs *pairs) { return pairs->writes_behind; }

const json_t *qa_pairs_chat_record(const qa_pairs *pairs) {
    return qa_pairs_kind_of(pairs) == QA_PAIRS_DIALOGUES ? pairs->chat_record : NULL;
}

static const uint64_t FNV_START = UINT64_C(0xcbf29ce484222325);

/* FNV-1a over the eight bytes of a number, least significant first, the same on every machine. */
static uint64_t mix(uint64_t hash, uint64_t number) {
    for (unsigned shift = 0; shift < 64; shift += 8) {
        hash = (hash ^ ((number >> shift) & 0xff)) * UINT64_C(0x100000001b3);
    }
    return hash;
}

static uint64_t mix_ids(uint64_t hash, const int32_t *ids, size_t n) {
    hash = mix(hash, n);
    for (size_t i = 0; i < n; i++) {
        hash = mix(hash, (uint64_t)(uint32_t)ids[i]);
    }
    return hash;
}

uint64_t qa_pairs_fingerprint(const qa_pairs *pairs) {
    uint64_t hash = mix(FNV_START, pairs->n);
    for (size_t i = 0; i < pairs->n; i++) {
        const qa_pair *pair = &pairs->items[i];
        hash = mix_ids(hash, pair->prompt, pair->prompt_len);
        hash = mix_ids(hash, pair->chosen, pair->chosen_len);
        hash = mix_ids(hash, pair->rejected, pair->rejected_len);
        hash = mix(hash, (pair->chosen_terminal ? 1u : 0u) + (pair->rejected_terminal ? 2u : 0u));
        hash = mix(hash, pair->label_start);
        hash = pairs->labelled ? mix(hash, pair->undesirable ? 1 : 0) : hash;
    }
    return pairs->labelled ? mix(hash, pairs->max_length) : hash; /* where mismatched responses are cut */
}

void qa_pairs_set_pointers(qa_pairs *pairs) {
    const int32_t *next = pairs->ids.data;
    for (size_t i = 0; i < pairs->n; i++) {
        qa_pair *pair = &pairs->items[i];
        pair->prompt = next;
        pair->chosen = pair->prompt + pair->prompt_len;
        pair->rejected = pair->chosen + pair->chosen_len;
        next = pair->rejected + pair->rejected_len;
    }
}

/* ---- the examples ---- */

/* Fit to be shown. A name that is too long is cut, and a hash of the whole tells it from its like. */
static void write_subset(qa_pair *pair, const char *name) {
    enum { HASH_BYTES = 17 }; /* "~" and 16 digits */
    char longer[2 * sizeof pair->subset];
    uint64_t hash = FNV_START;
    (void)qa_plain_line(pair->subset, sizeof pair->subset, name);
    (void)qa_plain_line(longer, sizeof longer, name);
    if (strcmp(pair->subset, longer) == 0) {
        return;
    }
    for (const char *at = name; *at != '\0'; at++) {
        hash = mix(hash, (unsigned char)*at);
    }
    (void)qa_plain_line(pair->subset, sizeof pair->subset - HASH_BYTES, name);
    const size_t used = strlen(pair->subset);
    (void)snprintf(pair->subset + used, sizeof pair->subset - used, "~%016" PRIx64, hash);
}

/* The row's "subset", a text or a whole number, for the examples from `first` on, which it became. */
static void name_subset(qa_pairs *pairs, size_t first, const json_t *row) {
    const json_t *value = json_object_get(row, "subset");
    char number[32];
    (void)snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    const char *name = json_is_integer(value) ? number : json_string_value(value);
    for (size_t i = first; name != NULL && i < pairs->n; i++) {
        write_subset(&pairs->items[i], name);
    }
}

/* The example on the next line; *more: there was one. */
static qa_status add_pairs_line(qa_pairs_loader *loader, qa_json_lines *lines, bool *more, qa_error *err) {
    json_t *element = NULL;
    qa_status status = qa_json_lines_next(lines, &element, err);
    *more = element != NULL;
    if (status == QA_ERR_FORMAT && loader->read == 0 && err != NULL && !loader->pairs->report.elements &&
        (strstr(err->message, "end of file") != NULL || strstr(err->message, "end of input") != NULL)) {
        char message[QA_MESSAGE_BYTES];
        memcpy(message, err->message, sizeof message);
        return qa_fail(err, status, "%.700s (a file that begins with '{' is JSON Lines: one whole object per line)",
                       message);
    }
    if (*more) {
        loader->line = qa_json_lines_number(lines);
        const size_t first = loader->pairs->n;
        loader->read++;
        status = qa_form_add(loader, element, err);
        name_subset(loader->pairs, first, element);
        if (status != QA_OK) {
            qa_json_lines_prefix(lines, err);
        }
    }
    json_decref(element);
    return status;
}

/* loader->line is the line that the source stands in. */
static qa_status load_lines(qa_pairs_loader *loader, qa_source *source, qa_error *err) {
    qa_json_lines *lines = NULL;
    QA_TRY(qa_json_lines_from(&lines, source, loader->line - 1, err));
    qa_status status = QA_OK;
    for (bool more = true; status == QA_OK && more && !loader->full;) {
        status = add_pairs_line(loader, lines, &more, err);
    }
    qa_json_lines_close(lines);
    return status;
}

/* ---- the file ---- */

/* Moves to the first character that counts, past a byte-order mark, and tells what it is, -1: nothing; counts lines. */
static qa_status first_character(qa_source *source, size_t *line, int *first, qa_error *err) {
    static const char mark[] = "\xef\xbb\xbf";
    const char *data = NULL;
    size_t n = 0, at = 0;
    QA_TRY(qa_source_look(source, 3, &data, &n, err));
    qa_source_take(source, n >= 3 && memcmp(data, mark, 3) == 0 ? 3 : 0);
    do {
        qa_source_take(source, at);
        QA_TRY(qa_source_look(source, 1, &data, &n, err));
        for (at = 0; at < n && strchr(" \t\r\n", data[at]) != NULL && data[at] != '\0'; at++) {
            *line += data[at] == '\n' ? 1 : 0;
        }
    } while (at == n && n > 0);
    qa_source_take(source, at);
    *first = n == 0 ? -1 : (unsigned char)data[at];
    return QA_OK;
}

/* The file begins neither as JSON Lines nor as an array: what it is, where that can be told. */
static qa_status neither(const qa_pairs_loader *loader, qa_source *source, const char *name, qa_error *err) {
    const char *head = NULL;
    char text[QA_FOREIGN_BYTES];
    size_t n = 0;
    QA_TRY(qa_source_look(source, 1024, &head, &n, err));
    const char *foreign = qa_foreign_lines(name, head, n, text);
    return qa_fail(err, QA_ERR_FORMAT, "%s:%zu: %s begins with '{' (JSON Lines) or '[' (a JSON array)%s%s", name,
                   loader->line, loader->options->responses ? "a file of responses" : "preference data",
                   foreign == NULL ? "" : "; this file is ", foreign == NULL ? "" : foreign);
}

static qa_status load_pairs_file(qa_pairs_loader *loader, qa_source *source, qa_error *err) {
    const char *name = qa_source_name(source);
    int first = -1;
    loader->line = 1;
    QA_TRY(first_character(source, &loader->line, &first, err));
    loader->pairs->report.elements = first == '[';
    return first == '{' || first == '[' ? load_lines(loader, source, err)
           : first >= 0                 ? neither(loader, source, name, err)
                                        : qa_fail(err, QA_ERR_FORMAT, "%s: the file is empty", name);
}

static qa_status check_options(const qa_pairs_options *options, qa_error *err) {
    QA_FAIL_IF(options->vocab_size == 0, err, QA_ERR_ARGUMENT, "the vocabulary size must be 1 or more");
    QA_FAIL_IF(options->max_length < 2, err, QA_ERR_ARGUMENT, "the length limit must be 2 tokens or more, found %zu",
               options->max_length);
    for (size_t i = 0; i < options->n_eos; i++) {
        QA_FAIL_IF(options->eos_ids[i] < 0 || (size_t)options->eos_ids[i] >= options->vocab_size, err, QA_ERR_ARGUMENT,
                   "end-of-sequence id %ld is outside the vocabulary of %zu", (long)options->eos_ids[i],
                   options->vocab_size);
    }
    return QA_OK;
}

/* Why nothing is left: how much was read, and the commonest reason. */
static qa_status nothing_left(const qa_pairs_loader *loader, const char *name, qa_error *err) {
    const qa_skip_report *report = &loader->pairs->report;
    size_t most = 0;
    for (size_t i = 1; i < QA_SKIP_REASONS; i++) {
        most = report->count[i] > report->count[most] ? i : most;
    }
    QA_FAIL_IF(report->count[most] == 0, err, QA_ERR_FORMAT, "%s: no examples in the file", name);
    const char *detail = report->first_detail[most];
    const char *colon = detail[0] != '\0' ? ": " : "", *reason = qa_skip_reason_text((qa_skip_reason)most);
    QA_FAIL_IF(loader->read == 1, err, QA_ERR_FORMAT, "%s: its only example is not usable: %s%s%s", name, reason, colon,
               detail);
    return qa_fail(err, QA_ERR_FORMAT,
                   "%s: none of %zu examples is usable; left out most often: %s (%zu time%s, first at %zu%s%s)", name,
                   loader->read, reason, report->count[most], report->count[most] == 1 ? "" : "s",
                   report->first_line[most], colon, detail);
}

static void free_pair_scratch(qa_pairs_loader *loader) {
    qa_ids_free(&loader->prompt);
    qa_ids_free(&loader->chosen);
    qa_ids_free(&loader->rejected);
    qa_text_free(&loader->text);
    qa_text_free(&loader->turns);
    qa_chat_turn_free(&loader->turn);
    qa_chat_turn_free(&loader->last_turn);
    qa_chat_free(loader->own_chat);
    qa_column_map_free(&loader->map);
    free(loader->left.messages);
    free(loader->right.messages);
}

/* The template, and where answers end. Without a tokenizer there is neither. */
static qa_status prepare_chat(qa_pairs_loader *loader, qa_error *err) {
    const qa_pairs_options *options = loader->options;
    QA_TRY(loader->tokenizer == NULL ? QA_OK
                                     : qa_chat_of_options(&loader->chat, &loader->own_chat, options->renderer,
                                                          options->chat, loader->tokenizer, err));
    if (loader->chat != NULL) {
        loader->pairs->chat = loader->chat->which;
        loader->pairs->chat_record = json_deep_copy(qa_chat_record(loader->chat));
    }
    QA_TRY(qa_answer_end_find(&loader->end, loader->chat, loader->tokenizer, options->eos_ids, options->n_eos, err));
    loader->pairs->writes_behind =
        loader->chat == NULL || !loader->chat->known ? NULL : qa_chat_writes_behind(loader->chat, loader->end.turn);
    return QA_OK;
}

static qa_status prepare_columns(qa_pairs_loader *loader, qa_error *err) {
    QA_TRY(qa_column_map_parse(&loader->map, loader->options->columns, qa_pairs_column_use(loader->options), err));
    (void)qa_column_map_text(&loader->map, loader->pairs->columns);
    return QA_OK;
}

/* What is wrong with a file of which every row was read. */
static qa_status check_whole(const qa_pairs_loader *loader, const char *name, qa_error *err) {
    QA_TRY(loader->full ? QA_OK : qa_prefixed(qa_column_map_check_seen(&loader->map, err), err, "%s: ", name));
    return loader->pairs->n > 0 ? QA_OK : nothing_left(loader, name, err);
}

/* Labels that are all alike tell nothing apart. */
static void warn_of_labels(qa_pairs *pairs, const char *name) {
    const size_t undesirable = pairs->labelled ? qa_pairs_undesirable(pairs) : 0;
    if (pairs->labelled && pairs->n > 1 && (undesirable == 0 || undesirable == pairs->n)) {
        qa_warn(&pairs->warnings,
                "%s: the label of all %zu responses is %s: what is desirable shows beside what is not, and one of the "
                "two is missing",
                name, pairs->n, undesirable == 0 ? "true" : "false");
    }
}

/* What is read: a file, or one example. */
static qa_status load_examples(qa_pairs_loader *loader, qa_source *source, const json_t *row, qa_error *err) {
    QA_FAIL_IF(loader->pairs == NULL, err, QA_ERR_MEMORY, "out of memory");
    QA_TRY(prepare_chat(loader, err));
    QA_TRY(prepare_columns(loader, err));
    if (source != NULL) {
        return load_pairs_file(loader, source, err);
    }
    loader->line = loader->read = 1;
    return qa_form_add(loader, row, err);
}

static qa_status load_from(qa_pairs **pairs, qa_source *source, const json_t *row, const char *name,
                           const qa_tokenizer *tokenizer, const qa_pairs_options *options, qa_error *err) {
    qa_pairs_loader loader = {.tokenizer = tokenizer, .options = options, .pairs = calloc(1, sizeof **pairs)};
    qa_status status = load_examples(&loader, source, row, err);
    status = status == QA_OK ? check_whole(&loader, name, err) : status;
    free_pair_scratch(&loader);
    if (status != QA_OK) {
        qa_pairs_free(loader.pairs);
        return status;
    }
    qa_pairs_set_pointers(loader.pairs);
    loader.pairs->response_end = options->response_end;
    loader.pairs->published_data = options->published_data;
    loader.pairs->max_length = options->max_length;
    qa_pairs_warn_of_seen(&loader, name);
    warn_of_labels(loader.pairs, name);
    *pairs = loader.pairs;
    return QA_OK;
}

qa_status qa_pairs_load(qa_pairs **pairs, const char *path, const qa_tokenizer *tokenizer,
                        const qa_pairs_options *options, qa_error *err) {
    qa_source *source = NULL;
    *pairs = NULL;
    QA_TRY(check_options(options, err));
    QA_TRY(qa_source_open(&source, path, err));
    const qa_status status = load_from(pairs, source, NULL, qa_source_name(source), tokenizer, options, err);
    qa_source_close(source);
    return status;
}

qa_status qa_pairs_of_row(qa_pairs **pairs, const json_t *row, const char *name, const qa_tokenizer *tokenizer,
                          const qa_pairs_options *options, qa_error *err) {
    *pairs = NULL;
    QA_TRY(check_options(options, err));
    return load_from(pairs, NULL, row, name, tokenizer, options, err);
}
