/* The parsers under attack: one function a parser, each in target_NAME.c, which takes any bytes and must come back.
 *
 * `make fuzz` links each with libFuzzer (clang); `make check` runs each on the inputs of tests/fuzz/findings and on the
 * seeds, which are the project's own files (tests/fuzz/make-seeds). Nothing is asserted but that nothing crashes,
 * leaks, hangs or computes what is undefined; what a parser makes of a file is for the other tests.
 *
 * Where one input stands for one of several files of a folder, its first byte says which: the letter is in the target's
 * head, and in its seeds. */
#ifndef QA_TESTS_FUZZ_H
#define QA_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

typedef void (*qa_fuzz_function)(const uint8_t *data, size_t bytes);

void qa_fuzz_adapter(const uint8_t *data, size_t bytes);
void qa_fuzz_chat(const uint8_t *data, size_t bytes);
void qa_fuzz_checkpoint(const uint8_t *data, size_t bytes);
void qa_fuzz_config(const uint8_t *data, size_t bytes);
void qa_fuzz_corpus(const uint8_t *data, size_t bytes);
void qa_fuzz_encode(const uint8_t *data, size_t bytes);
void qa_fuzz_golden(const uint8_t *data, size_t bytes);
void qa_fuzz_judge(const uint8_t *data, size_t bytes);
void qa_fuzz_mdp(const uint8_t *data, size_t bytes);
void qa_fuzz_pairs(const uint8_t *data, size_t bytes);
void qa_fuzz_prompts(const uint8_t *data, size_t bytes);
void qa_fuzz_safetensors(const uint8_t *data, size_t bytes);
void qa_fuzz_serve(const uint8_t *data, size_t bytes);
void qa_fuzz_suite(const uint8_t *data, size_t bytes);
void qa_fuzz_template(const uint8_t *data, size_t bytes);
void qa_fuzz_tokenizer(const uint8_t *data, size_t bytes);
void qa_fuzz_training_config(const uint8_t *data, size_t bytes);
void qa_fuzz_vectors(const uint8_t *data, size_t bytes);

#endif
