/* Preference data in every form. The first byte: "p" pairs, "r" responses, "d" raw DSP with its domain; a capital: with
 * the authors' data quirks; "i" without a tokenizer; "c" and "s" under other names of columns. */
#include "fuzz/folder.h"
#include "fuzz/fuzz.h"

#include "qadapter/data.h"

#include <stdlib.h>

void qa_fuzz_pairs(const uint8_t *data, size_t bytes) {
    static const char *dir;
    static qa_tokenizer *tokenizer;
    static const int32_t eos[] = {2, 7};
    qa_pairs *pairs = NULL;
    qa_error err = {0};
    if (dir == NULL) {
        const char *model = qa_fuzz_folder("pairs-model");
        dir = qa_fuzz_folder("pairs");
        qa_fuzz_copy("weights/village/model", model);
        if (qa_tokenizer_load(&tokenizer, model, &err) != QA_OK) {
            abort();
        }
    }
    const int letter = bytes > 0 ? data[0] | 0x20 : 'p';
    const qa_pairs_options options = {.dsp_domain = letter == 'd' ? "academy" : NULL,
                                      .chat = QA_CHAT_CHATML,
                                      .vocab_size = 1024,
                                      .max_length = 64,
                                      .eos_ids = eos,
                                      .n_eos = 2,
                                      .published_data = bytes > 0 && (data[0] & 0x20) == 0,
                                      .responses = letter == 'r' || letter == 's',
                                      .columns = letter == 'c'   ? "instruction=q,input=i,system=s,history=h,chosen=a"
                                                 : letter == 's' ? "system=s,prompt=q,output=a,responses=r"
                                                                 : NULL};
    qa_fuzz_write(dir, "pairs", bytes > 0 ? data + 1 : data, bytes - (bytes > 0));
    (void)!qa_pairs_load(&pairs, qa_fuzz_path(dir, "pairs"), letter == 'i' ? NULL : tokenizer, &options, &err);
    qa_pairs_free(pairs);
}
