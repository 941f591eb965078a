/* A chat template, parsed and run on a dialogue; with bounds low enough that a step more is a step too much. */
#include "fuzz/fuzz.h"

#include "text/template.h"

#include <stdlib.h>

static const char VARIABLES[] =
    "{\"messages\": [{\"role\": \"system\", \"content\": \"Be brief.\"}, {\"role\": \"user\", \"content\": "
    "\"Gr\\u00fc\\u00df "
    "1, 2.5\\n\\ttwo\"}, {\"role\": \"assistant\", \"content\": \"<think>\\n</think>Hi\", \"tool_calls\": "
    "[{\"function\": "
    "{\"name\": \"f\", \"arguments\": {\"a\": [1, -2.5, null, true], \"b\": {}}}}]}], \"add_generation_prompt\": true, "
    "\"tools\": null, \"documents\": null, \"bos_token\": \"<s>\", \"eos_token\": \"</s>\"}";

void qa_fuzz_template(const uint8_t *data, size_t bytes) {
    static json_t *variables;
    const qa_template_options options = {.date = {.tm_year = 126, .tm_mon = 10, .tm_mday = 30, .tm_wday = 1},
                                         .steps = 1000000,
                                         .memory = (size_t)16 << 20,
                                         .output_bytes = (size_t)1 << 20};
    qa_template *parsed = NULL;
    qa_error err = {0};
    qa_text out = {0};
    qa_template_result result = {0};
    if (variables == NULL && (variables = json_loads(VARIABLES, 0, NULL)) == NULL) {
        abort();
    }
    if (qa_template_parse(&parsed, (const char *)data, bytes, "a template", &err) == QA_OK) {
        (void)!qa_template_render(parsed, variables, &options, &out, &result, &err);
    }
    qa_template_free(parsed);
    qa_template_result_free(&result);
    qa_text_free(&out);
}
