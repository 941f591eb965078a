/* A customisation problem for `tabular solve`. */
#include "fuzz/folder.h"
#include "fuzz/fuzz.h"

#include "cli/mdp_file.h"

void qa_fuzz_mdp(const uint8_t *data, size_t bytes) {
    static const char *dir;
    cli_mdp mdp = {0};
    qa_error err = {0};
    dir = dir == NULL ? qa_fuzz_folder("mdp") : dir;
    qa_fuzz_write(dir, "mdp.json", data, bytes);
    if (cli_mdp_load(&mdp, qa_fuzz_path(dir, "mdp.json"), &err) == QA_OK) {
        cli_mdp_free(&mdp);
    }
}
