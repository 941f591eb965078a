/* Plain text: some facts of the land, or a village and its people. */
#include "village/item.h"
#include "village/world.h"

/* A few facts of one or two topics, in any order and either way. */
static void write_topics(const vl_land *land, qa_rng *rng, vl_item *item) {
    const size_t topics = 1 + vl_below(rng, 2);
    size_t chosen[2], order[8];
    vl_draw_distinct(rng, chosen, topics, VL_TOPICS);
    for (size_t i = 0; i < topics; i++) {
        const vl_topic *topic = &land->topics[chosen[i]];
        const size_t most = topics == 1 ? topic->n : 2;
        vl_draw_distinct(rng, order, most, topic->n);
        for (size_t j = 0; j < most; j++) {
            vl_state(&item->answer, &land->facts[topic->first + order[j]], vl_below(rng, 2));
            vl_put(&item->answer, i + 1 == topics && j + 1 == most ? "." : ". ");
        }
    }
    vl_sentence_case(&item->answer);
}

/* Any facts of the land, one after the other. */
static void write_facts(const vl_land *land, qa_rng *rng, vl_item *item) {
    const size_t n = 3 + vl_below(rng, 3);
    for (size_t i = 0; i < n; i++) {
        const vl_fact *fact = vl_any_fact(land, rng);
        vl_state(&item->answer, fact, vl_below(rng, 2));
        vl_put(&item->answer, i + 1 == n ? "." : ". ");
    }
    vl_sentence_case(&item->answer);
}

static void write_village(const vl_land *land, qa_rng *rng, vl_item *item) {
    static const char *const OPENINGS[] = {"", "these people live in the village. ", "this is our village. ",
                                           "a new day in the village. "};
    (void)land;
    vl_world world;
    const size_t people = 2 + vl_below(rng, 3);
    vl_world_draw(&world, rng, people, people + 1 + vl_below(rng, 3));
    vl_put(&item->answer, VL_PICK(rng, OPENINGS));
    for (size_t i = 0; i < world.n_sayings; i++) {
        vl_world_say(&item->answer, &world, &world.sayings[i], vl_below(rng, 2));
        vl_put(&item->answer, i + 1 == world.n_sayings ? "." : ". ");
    }
    vl_sentence_case(&item->answer);
    vl_world_key(&item->key, &world);
    item->world = true;
}

const vl_kind vl_text_kinds[] = {
    {"topics", 40, write_topics}, {"facts", 35, write_facts}, {"village", 25, write_village}, {NULL, 0, NULL}};
