/* The suite: questions of the four skills, open prompts, prompts to turn down and plain text, all of the test split,
 * and suite.json, which says what the classes of answers are and what each preference rewards. */
#include "village/commands.h"

#include "base/try.h"
#include "io/file.h"
#include "io/json.h"

#include <stdio.h>
#include <stdlib.h>

static const struct {
    vl_skill skill;
    unsigned max_tokens;
} SKILLS[] = {{VL_FACTS, 48}, {VL_SUMS, 64}, {VL_LOGIC, 64}, {VL_FOLLOW, 64}};

static void put_question(qa_json_writer *out, const vl_item *item) {
    qa_json_open_object(out, NULL, QA_JSON_TIGHT);
    if (item->skill == VL_TEXT) {
        qa_json_put_text(out, "text", item->answer.s, item->answer.n);
    } else {
        vl_put_messages(out, item->prompt.s, NULL);
    }
    if (item->skill != VL_TEXT && item->grader != NULL) {
        qa_json_put_string(out, "answer", item->expected.s);
        qa_json_put_string(out, "grader", item->grader);
        qa_json_put_string(out, "kind", item->kind);
        qa_json_put_string(out, "reference", item->answer.s);
    }
    qa_json_close(out);
    qa_json_end_line(out);
}

/* n different lines of one skill into dir/name. */
static qa_status write_lines(const vl_land *land, vl_skill skill, size_t n, uint64_t seed, const char *dir,
                             const char *name, qa_error *err) {
    const vl_lines lines = {.purpose = VL_FOR_SUITE,
                            .part = skill,
                            .skill = skill,
                            .split = VL_TEST,
                            .what = "questions",
                            .put = put_question};
    char *path = NULL;
    QA_TRY(qa_join_path(&path, dir, name, err));
    const qa_status status = vl_write_different(land, &lines, n, seed, path, err);
    free(path);
    return status;
}

/* ---- suite.json ---- */

/* A sticky JSON tree: jansson's functions take NULL for a failure and pass it on. */
static json_t *skills_json(void) {
    json_t *skills = json_array();
    for (size_t i = 0; i < VL_COUNT(SKILLS); i++) {
        char file[32];
        const char *name = vl_skill_names[SKILLS[i].skill];
        (void)snprintf(file, sizeof file, "%s.jsonl", name);
        json_array_append_new(
            skills, json_pack("{s:s,s:s,s:i}", "name", name, "file", file, "max_tokens", (int)SKILLS[i].max_tokens));
    }
    return skills;
}

static json_t *shares_json(void) {
    json_t *shares = json_array();
    for (size_t i = 0; i < VL_SHARES; i++) {
        const vl_share *share = &vl_shares[i];
        json_t *classes = json_array();
        for (size_t c = 0; c < share->n; c++) {
            const vl_class *class = &share->classes[c];
            json_array_append_new(classes, json_pack("{s:s,s:s,s:f}", "name", class->name, "pattern", class->pattern,
                                                     "generator", (double)class->share / 100.0));
        }
        json_array_append_new(shares, json_pack("{s:s,s:s,s:i,s:o}", "name", share->name, "file", share->file,
                                                "max_tokens", (int)share->max_tokens, "classes", classes));
    }
    return shares;
}

static json_t *preferences_json(double reward) {
    json_t *preferences = json_array();
    for (size_t i = 0; i < VL_PREFERENCES; i++) {
        const vl_preference *p = &vl_preferences[i];
        char pairs[64];
        (void)snprintf(pairs, sizeof pairs, "../preferences/%s.test.jsonl", p->name);
        json_array_append_new(preferences,
                              json_pack("{s:s,s:s,s:{s:f},s:s}", "name", p->name, "shares", vl_shares[p->share].name,
                                        "reward", p->wanted, reward, "pairs", pairs));
    }
    return preferences;
}

static qa_status write_description(double reward, const char *dir, qa_error *err) {
    json_t *root = json_pack("{s:s,s:o,s:{s:s},s:o,s:o}", "name", "village", "skills", skills_json(), "text", "file",
                             "text.jsonl", "shares", shares_json(), "preferences", preferences_json(reward));
    return qa_json_save_in(root, dir, "suite.json", err);
}

qa_status vl_write_suite(const vl_land *land, size_t questions, double reward, uint64_t seed, const char *dir,
                         qa_error *err) {
    QA_TRY(qa_make_dirs(dir, err));
    for (size_t i = 0; i < VL_COUNT(SKILLS); i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "%s.jsonl", vl_skill_names[SKILLS[i].skill]);
        QA_TRY(write_lines(land, SKILLS[i].skill, questions, seed, dir, name, err));
    }
    for (size_t i = 0; i < VL_SHARES; i++) {
        QA_TRY(write_lines(land, vl_shares[i].skill, questions, seed, dir, vl_shares[i].file, err));
    }
    QA_TRY(write_lines(land, VL_TEXT, questions, seed, dir, "text.jsonl", err));
    return write_description(reward, dir, err);
}
