/* See json_memory.h. */
#include "io/json_memory.h"

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

typedef void *(*allocate)(size_t bytes);

static pthread_mutex_t installing = PTHREAD_MUTEX_INITIALIZER;
/* What jansson had before: when this was first put in front, and when it was last. */
static _Atomic(allocate) first_behind, last_behind;
static _Thread_local bool failed, inside;

/* The caller's functions may themselves go on to the ones that jansson had before them, which are these: the inner call
 * goes to the first ones, so that nothing turns in a circle. */
static void *watched(size_t bytes) {
    const allocate behind = inside ? atomic_load(&first_behind) : atomic_load(&last_behind);
    const bool outer = !inside;
    inside = true;
    void *memory = behind(bytes);
    inside = !outer;
    failed = failed || (memory == NULL && bytes > 0);
    return memory;
}

static void install(void) {
    json_malloc_t now = NULL;
    json_free_t release = NULL;
    (void)pthread_mutex_lock(&installing);
    json_get_alloc_funcs(&now, &release);
    if (now != watched) {
        if (atomic_load(&first_behind) == NULL) {
            atomic_store(&first_behind, now);
        }
        atomic_store(&last_behind, now);
        json_set_alloc_funcs(watched, release);
    }
    (void)pthread_mutex_unlock(&installing);
}

void qa_json_memory_watch(void) {
    install();
    failed = false;
}

bool qa_json_memory_failed(void) {
    const bool before = failed;
    failed = false;
    return before;
}
