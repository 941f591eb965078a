/* See item.h. Every item has a key: the people of a village with all that is said of them, the numbers of a problem,
 * or the prompt itself. The key's hash alone says to which split the item belongs, so that no two splits can share a
 * key, whatever their seeds; and because a prompt determines its key, they share no prompt either. */
#include "village/item.h"

#include "base/try.h"

const char *const vl_split_names[VL_SPLITS] = {"train", "validation", "test"};
const char *const vl_skill_names[VL_SKILLS] = {"text", "facts", "sums", "logic", "follow", "open", "turn_down"};
const unsigned vl_mixture[VL_SKILLS] = {9, 20, 19, 19, 15, 13, 5};

enum { SPLIT_PARTS = 20, MOST_REDRAWS = 100000 };

vl_split vl_split_of(const char *key) {
    const uint64_t part = vl_hash(key) % SPLIT_PARTS;
    return part == 0 ? VL_TEST : part == 1 ? VL_VALIDATION : VL_TRAIN;
}

static const vl_kind *kinds_of(vl_skill skill) {
    switch (skill) {
    case VL_TEXT: return vl_text_kinds;
    case VL_FACTS: return vl_fact_kinds;
    case VL_SUMS: return vl_sum_kinds;
    case VL_LOGIC: return vl_logic_kinds;
    case VL_FOLLOW: return vl_follow_kinds;
    case VL_OPEN: return vl_open_kinds;
    default: return vl_turn_down_kinds;
    }
}

static const vl_kind *draw_kind(qa_rng *rng, const vl_kind *kinds) {
    unsigned total = 0;
    for (const vl_kind *k = kinds; k->name != NULL; k++) {
        total += k->weight;
    }
    size_t at = vl_below(rng, total);
    while (at >= kinds->weight) {
        at -= kinds->weight;
        kinds++;
    }
    return kinds;
}

qa_status vl_draw(const vl_land *land, qa_rng *rng, vl_skill skill, vl_split split, vl_item *item, qa_error *err) {
    const vl_kind *kind = draw_kind(rng, kinds_of(skill));
    for (size_t i = 0; i < MOST_REDRAWS; i++) {
        item->skill = skill;
        item->kind = kind->name;
        item->grader = NULL;
        item->world = false;
        item->register_of = 0;
        vl_clear(&item->prompt);
        vl_clear(&item->answer);
        vl_clear(&item->key);
        vl_clear(&item->expected);
        kind->write(land, rng, item);
        if (item->key.n == 0) {
            vl_put(&item->key, skill == VL_TEXT ? item->answer.s : item->prompt.s);
        }
        QA_FAIL_IF(item->prompt.full || item->answer.full || item->key.full || item->expected.full, err, QA_ERR_LIMIT,
                   "%s: longer than %d bytes: %s", kind->name, VL_LINE_BYTES, item->prompt.s);
        if (vl_split_of(item->key.s) == split) {
            return QA_OK;
        }
    }
    return qa_fail(err, QA_ERR_LIMIT, "%s: nothing of the %s split in %d draws", kind->name, vl_split_names[split],
                   MOST_REDRAWS);
}

qa_status vl_draw_mixed(const vl_land *land, qa_rng *rng, unsigned skills, vl_split split, vl_item *item,
                        qa_error *err) {
    unsigned total = 0;
    for (unsigned s = 0; s < VL_SKILLS; s++) {
        total += (skills >> s & 1) != 0 ? vl_mixture[s] : 0;
    }
    size_t at = vl_below(rng, total);
    unsigned skill = 0;
    while ((skills >> skill & 1) == 0 || at >= vl_mixture[skill]) {
        at -= (skills >> skill & 1) != 0 ? vl_mixture[skill] : 0;
        skill++;
    }
    return vl_draw(land, rng, (vl_skill)skill, split, item, err);
}
