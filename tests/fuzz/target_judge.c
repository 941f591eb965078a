/* Files of `judge`. The first byte: "a": two files of answers, with a line "--" between them, which are exported if
 * they are paired, and read back with all verdicts; "k": the key to one verdict; "v": the judges' file to a key of one
 * pair. */
#include "fuzz/folder.h"
#include "fuzz/fuzz.h"
#include "suite/judge.h"

#include <stdlib.h>
#include <string.h>

static const char one_pair[] =
    "{\"format\": \"qadapter judge key\", \"version\": 1, \"a\": \"x\", \"b\": \"y\", \"prompts\": 1, "
    "\"pairs\": [{\"prompt\": 0, \"a_first\": \"0000000000000001\", \"b_first\": "
    "\"0000000000000002\", \"a\": \"00000000000000aa\", \"b\": \"00000000000000bb\"}]}";
static const char one_verdict[] = "{\"id\": \"0000000000000001\", \"verdict\": \"tie\"}\n";

static void read_back(const char *dir) {
    static const qa_judge_options few = {.resamples = 3, .confidence = 0.9};
    qa_judge_key key = {0};
    qa_judges judges = {0};
    qa_judge_result result;
    qa_agreement agreement;
    qa_error err = {0};
    if (qa_judge_key_load(&key, qa_fuzz_path(dir, "key"), &err) == QA_OK &&
        qa_judges_read(&judges, &key, qa_fuzz_path(dir, "verdicts"), &err) == QA_OK &&
        qa_judges_check(&judges, &key, true, &err) == QA_OK) {
        const qa_judge *const two[] = {&judges.items[0], &judges.items[judges.n - 1]};
        if (qa_judge_measure(&result, &key, judges.items, judges.n, &few, &err) != QA_OK ||
            qa_judge_agreement(&agreement, &key, two, 2, &few, &err) != QA_OK) {
            abort();
        }
    }
    qa_judges_free(&judges);
    qa_judge_key_free(&key);
}

static void export_answers(const char *dir, const uint8_t *data, size_t bytes) {
    static const char mark[] = "\n--\n";
    const qa_judge_export_options options = {{"x", "y"}, false, 1};
    size_t first = 0;
    qa_answer_pairs pairs = {0};
    qa_judge_exported made = {0};
    qa_error err = {0};
    while (first < bytes && (bytes - first < 4 || memcmp(data + first, mark, 4) != 0)) {
        first++;
    }
    qa_fuzz_write(dir, "a", data, first);
    qa_fuzz_write(dir, "b", data + (first < bytes ? first + 4 : bytes), first < bytes ? bytes - first - 4 : 0);
    const char *const paths[] = {qa_fuzz_path(dir, "a"), qa_fuzz_path(dir, "b")};
    if (qa_answer_pairs_load(&pairs, paths, &err) == QA_OK && qa_judge_export(&made, &pairs, &options, &err) == QA_OK) {
        qa_fuzz_write(dir, "key", made.key.data, made.key.n);
        qa_fuzz_write(dir, "verdicts", made.items.data, made.items.n);
        read_back(dir);
    }
    qa_judge_export_free(&made);
    qa_answer_pairs_free(&pairs);
}

void qa_fuzz_judge(const uint8_t *data, size_t bytes) {
    static const char *dir;
    if (dir == NULL) {
        dir = qa_fuzz_folder("judge");
    }
    const char which = bytes > 0 ? (char)data[0] : 'a';
    data += bytes > 0 ? 1 : 0;
    bytes -= bytes > 0 ? 1 : 0;
    if (which == 'k' || which == 'v') {
        qa_fuzz_write(dir, "key", which == 'k' ? (const void *)data : one_pair,
                      which == 'k' ? bytes : sizeof one_pair - 1);
        qa_fuzz_write(dir, "verdicts", which == 'v' ? (const void *)data : one_verdict,
                      which == 'v' ? bytes : sizeof one_verdict - 1);
        read_back(dir);
    } else {
        export_answers(dir, data, bytes);
    }
}
