/* A suite: "s" a suite.json beside the bundled suite's own files, else a file of questions. */
#include "fuzz/folder.h"
#include "fuzz/fuzz.h"

#include "qadapter/suite.h"

void qa_fuzz_suite(const uint8_t *data, size_t bytes) {
    static const char *dir;
    qa_suite *suite = NULL;
    qa_error err = {0};
    dir = dir == NULL ? qa_fuzz_folder("suite") : dir;
    const int is_suite = bytes > 0 && data[0] == 's';
    const char *name = is_suite ? "suite.json" : "questions.jsonl";
    static const char question[] =
        "{\"messages\": [{\"role\": \"user\", \"content\": \"1+1?\"}], \"answer\": \"2\", \"grader\": \"exact\"}\n";
    qa_fuzz_write(dir, "facts.jsonl", question, sizeof question - 1);
    qa_fuzz_write(dir, name, bytes > 0 ? data + 1 : data, bytes - (bytes > 0));
    (void)!qa_suite_load(&suite, qa_fuzz_path(dir, name), &err);
    qa_suite_free(suite);
}
