/* Whole runs with what is kept of the base model in memory, on disk, or nowhere: the same bytes, under every method and
 * objective, through evaluations, interruptions, and a disk that fails. */
#include "base/context.h"
#include "io/file.h"
#include "qadapter/train.h"
#include "support/metrics_lines.h"
#include "support/tempdir.h"
#include "support/training.h"
#include "train/run_folder.h"

#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PAIRS = 11, EVALUATION = 3, RESPONSES = 5, LOG_BYTES = 8192 };

/* Lines that the run logged, one after the other. */
typedef struct lines {
    char text[LOG_BYTES];
} lines;

static void log_line(void *user, qa_log_level level, const char *line) {
    lines *l = user;
    const size_t used = strlen(l->text);
    (void)snprintf(l->text + used, LOG_BYTES - used, "%s%s\n", level == QA_LOG_WARNING ? "warning: " : "", line);
}

typedef struct setting {
    qa_fixture fixture;
    qa_lora_options lora;
    qa_pairs *pairs, *evaluation, *responses;
    char *root;
    qa_train_options options;
    lines log;
} setting;

static void open_setting(setting *s, double dropout) {
    const tiny_model_options model = tiny_model_defaults();
    s->lora = qa_fixture_lora();
    s->lora.dropout = dropout;
    s->fixture = qa_fixture_open(&model, &s->lora, 2);
    s->fixture.context->logger = (qa_logger){.write = log_line, .user = &s->log};
    s->pairs = qa_training_pairs(&s->fixture, PAIRS, 6, 7, 4);
    s->evaluation = qa_training_pairs(&s->fixture, EVALUATION, 5, 9, 5);
    s->responses = qa_training_responses(&s->fixture, RESPONSES, 8, 12, 6);
    s->root = qa_tempdir_make();
    s->options = qa_training_options(NULL); /* 11 pairs in batches of 4: 3 steps an epoch, the last of 3 pairs */
    s->options.epochs = 3.0;
    s->options.eval_every = 4; /* after 4, 8, 9 steps */
}

static void close_setting(setting *s) {
    qa_pairs_free(s->responses);
    qa_pairs_free(s->evaluation);
    qa_pairs_free(s->pairs);
    qa_fixture_close(&s->fixture);
    qa_tempdir_remove(s->root);
}

/* A new adapter, trained into root/name; the caller frees the path. */
static char *train(setting *s, const char *name, qa_base_cache_mode mode, qa_status expected) {
    qa_error err = {0};
    char *out = qa_tempdir_join(s->root, name);
    s->log.text[0] = '\0';
    s->options.out_dir = out;
    s->options.base_cache = mode;
    qa_training_fresh_adapter(&s->fixture, &s->lora, 21);
    const qa_status status = qa_train(s->fixture.model, s->fixture.adapter, s->pairs, s->evaluation, &s->options, &err);
    ck_assert_msg(status == expected, "%s: %s", name, err.message);
    return out;
}

static void expect_logged(const setting *s, const char *part) {
    ck_assert_msg(strstr(s->log.text, part) != NULL, "nothing says \"%s\":\n%s", part, s->log.text);
}

/* The run found the base stream's states of that many visits. */
static void expect_found(const setting *s, size_t times) {
    char line[96];
    (void)snprintf(line, sizeof line, "the base model was found %zu times", times);
    expect_logged(s, line);
}

static void expect_same_run(const char *a, const char *b) {
    qa_expect_same_file(a, b, "adapter_model.safetensors");
    qa_expect_same_file(a, b, "training_config.json");
    qa_expect_same_metrics(a, b);
    char *left = qa_tempdir_join(b, QA_BASE_CACHE_NAME);
    ck_assert(!qa_path_exists(left));
    free(left);
}

/* Runs with every mode, and compares them with the one that keeps nothing. */
static void check_modes(setting *s, size_t found) {
    static const qa_base_cache_mode modes[] = {QA_BASE_CACHE_MEMORY, QA_BASE_CACHE_DISK, QA_BASE_CACHE_AUTO};
    static const char *const places[] = {"base cache: memory", "base cache: disk", "base cache: memory"};
    char *off = train(s, "off", QA_BASE_CACHE_OFF, QA_OK);
    expect_logged(s, "base cache: off, 0.0 MiB of memory, 0.0 MiB of disk");
    expect_found(s, 0);
    for (size_t i = 0; i < 3; i++) {
        char *kept = train(s, qa_base_cache_mode_name(modes[i]), modes[i], QA_OK);
        expect_logged(s, places[i]);
        expect_found(s, found);
        ck_assert_ptr_null(strstr(s->log.text, "warning"));
        expect_same_run(off, kept);
        ck_assert_uint_eq(qa_tempdir_entries(off), qa_tempdir_entries(kept));
        free(kept);
    }
    free(off);
}

/* Every pair of the three epochs after its first visit, and the last two of three evaluations. */
enum { FOUND = 2 * PAIRS + 2 * EVALUATION };

START_TEST(theory) {
    setting s;
    open_setting(&s, 0.15);
    check_modes(&s, FOUND);
    close_setting(&s);
}
END_TEST

/* In shuffled micro-batches the padded length of a pair is another in every epoch, and with it what is asked for. */
START_TEST(published) {
    setting s;
    open_setting(&s, 0.15);
    s.options.objective = qa_training_objective(QA_PUBLISHED, _i == 0 ? QA_Q_LOGITS : QA_Q_RESIDUAL);
    s.options.micro_batch = 3;
    s.options.gradient_accumulation = 1;
    s.options.eval_every = 5; /* of 12 steps */
    check_modes(&s, FOUND);
    close_setting(&s);
}
END_TEST

START_TEST(other_methods) {
    static const qa_method methods[] = {QA_METHOD_SFT, QA_METHOD_REPLAY, QA_METHOD_DPO};
    const qa_method method = methods[_i];
    setting s;
    open_setting(&s, 0.15);
    s.options.objective = qa_objective_for_method(method);
    s.options.replay = method == QA_METHOD_REPLAY ? s.responses : NULL;
    check_modes(&s, FOUND + (method == QA_METHOD_REPLAY ? 3 * PAIRS - RESPONSES : 0));
    close_setting(&s);
}
END_TEST

START_TEST(a_run_that_visits_nothing_twice) {
    setting s;
    open_setting(&s, 0.0);
    s.options.epochs = 1.0;
    s.options.eval_every = 0;
    free(train(&s, "memory", QA_BASE_CACHE_MEMORY, QA_OK));
    expect_logged(&s, "base cache: off");
    s.options.eval_every = 1; /* three evaluations: their pairs are kept, those of the one epoch are not */
    free(train(&s, "disk", QA_BASE_CACHE_DISK, QA_OK));
    expect_logged(&s, "base cache: disk");
    expect_found(&s, 2 * EVALUATION);
    close_setting(&s);
}
END_TEST

/* ---- in the course of a run ---- */

/* The descriptor of this process's file that the cache made and took the name away from; -1: there is none. */
static int cache_file(void) {
    int found = -1;
    DIR *open_files = opendir("/proc/self/fd");
    for (struct dirent *entry = open_files == NULL ? NULL : readdir(open_files); entry != NULL;
         entry = readdir(open_files)) {
        char target[512];
        const ssize_t n = readlinkat(dirfd(open_files), entry->d_name, target, sizeof target - 1);
        target[n < 0 ? 0 : n] = '\0';
        if (strstr(target, QA_BASE_CACHE_NAME) != NULL) {
            found = atoi(entry->d_name);
        }
    }
    if (open_files != NULL) {
        (void)closedir(open_files);
    }
    return found;
}

/* What happens after a step. */
typedef struct event {
    size_t step;
    void (*happens)(struct event *event);
    const char *device; /* a path */
    bool stop;
} event;

static bool at_step(void *user, const qa_metrics *metrics) {
    event *e = user;
    if (metrics->is_evaluation || metrics->step != e->step) {
        return true;
    }
    if (e->happens != NULL) {
        e->happens(e);
    }
    return !e->stop;
}

/* Interrupted at step 4, and continued with another mode, in which the cache begins empty. */
START_TEST(resuming) {
    static const qa_base_cache_mode modes[] = {QA_BASE_CACHE_OFF, QA_BASE_CACHE_MEMORY, QA_BASE_CACHE_DISK};
    setting s;
    event e = {.step = 4, .stop = true};
    open_setting(&s, 0.15);
    char *off = train(&s, "off", QA_BASE_CACHE_OFF, QA_OK);
    s.options.on_metrics = at_step;
    s.options.user = &e;
    char *broken = train(&s, "broken", modes[_i], QA_ERR_INTERRUPTED);
    free(qa_tempdir_write_text(broken, QA_BASE_CACHE_NAME, "of a run that was killed at a bad moment"));
    s.options.on_metrics = NULL;
    s.options.resume = true;
    free(train(&s, "broken", modes[(_i + 1) % 3], QA_OK));
    expect_same_run(off, broken);
    free(broken);
    free(off);
    close_setting(&s);
}
END_TEST

static void has_no_name(event *e) {
    char *path = qa_tempdir_join(e->device, QA_BASE_CACHE_NAME);
    ck_assert_int_ge(cache_file(), 0);
    ck_assert(!qa_path_exists(path));
    free(path);
}

static void cut_short(event *e) {
    (void)e;
    ck_assert_int_eq(ftruncate(cache_file(), 100), 0);
}

static void damage(event *e) {
    (void)e;
    const int file = cache_file();
    for (off_t at = 0; at < 40000; at += 200) {
        char byte = 0;
        if (pread(file, &byte, 1, at) == 1) {
            byte = (char)(byte ^ 1);
            ck_assert_int_eq(pwrite(file, &byte, 1, at), 1);
        }
    }
}

/* Puts another file in the place of the cache's. */
static void replace(const char *path, int flags) {
    const int file = cache_file(), other = open(path, flags);
    ck_assert_int_ge(other, 0);
    ck_assert_int_ge(dup2(other, file), 0);
    (void)close(other);
}

static void fill_disk(event *e) { replace(e->device, O_RDWR); }

static void make_read_only(event *e) {
    char path[64];
    (void)e;
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", cache_file());
    replace(path, O_RDONLY);
}

static const struct {
    void (*happens)(event *event);
    size_t step;
    const char *warning;
    bool keeps; /* what was kept before is still found */
} troubles[] = {{cut_short, 5, "bytes: the file ends there; going on without the cache", false},
                {damage, 4, "what was read is not what was written; going on without the cache", false},
                {fill_disk, 1, "bytes: No space left on device", false}, /* what is there reads as zeros */
                {make_read_only, 1, "what is not kept yet will be computed again", true}};
enum { TROUBLES = sizeof troubles / sizeof troubles[0] };

/* The disk's trouble is a warning, once, and the numbers are the same. */
START_TEST(a_failing_disk) {
    setting s;
    open_setting(&s, 0.15);
    char *device = qa_tempdir_full_device(s.root);
    event e = {.step = troubles[_i].step, .happens = troubles[_i].happens, .device = device};
    if (access("/proc/self/fd", R_OK) == 0 && device != NULL) {
        char *off = train(&s, "off", QA_BASE_CACHE_OFF, QA_OK);
        s.options.on_metrics = at_step;
        s.options.user = &e;
        char *kept = train(&s, "disk", QA_BASE_CACHE_DISK, QA_OK);
        expect_logged(&s, "warning: base cache ");
        expect_logged(&s, troubles[_i].warning);
        const char *first = strstr(s.log.text, troubles[_i].warning);
        ck_assert_ptr_null(strstr(first + 1, troubles[_i].warning));
        if (troubles[_i].keeps) {
            expect_found(&s, 2 * 4); /* the four pairs of the first step, in the second and third epoch */
        }
        expect_same_run(off, kept);
        free(kept);
        free(off);
    }
    free(device);
    close_setting(&s);
}
END_TEST

/* While the run goes on, the file has no name. */
START_TEST(the_file_has_no_name) {
    setting s;
    open_setting(&s, 0.0);
    char *out = qa_tempdir_join(s.root, "disk");
    event e = {.step = 5, .happens = has_no_name, .device = out};
    s.options.on_metrics = at_step;
    s.options.user = &e;
    if (access("/proc/self/fd", R_OK) == 0) {
        free(train(&s, "disk", QA_BASE_CACHE_DISK, QA_OK));
        ck_assert_int_eq(cache_file(), -1); /* and afterwards it is closed */
    }
    free(out);
    close_setting(&s);
}
END_TEST

START_TEST(an_unknown_mode) {
    setting s;
    qa_error err = {0};
    qa_base_cache_mode mode = QA_BASE_CACHE_AUTO;
    open_setting(&s, 0.0);
    free(train(&s, "none", (qa_base_cache_mode)9, QA_ERR_ARGUMENT));
    qa_expect_ok(qa_base_cache_mode_by_name(&mode, "disk", &err), &err);
    ck_assert_int_eq((int)mode, QA_BASE_CACHE_DISK);
    qa_expect_error(qa_base_cache_mode_by_name(&mode, "ram", &err), QA_ERR_ARGUMENT, &err,
                    "\"ram\": expected one of auto|off|memory|disk");
    close_setting(&s);
}
END_TEST

#if defined(__GLIBC__) && !defined(QA_SANITIZE) && __GLIBC_PREREQ(2, 33)
static size_t heap_bytes(void) {
    const struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static bool measure_heap(void *user, const qa_metrics *metrics) {
    size_t *bytes = user;
    *bytes = metrics->step == 1 ? heap_bytes() : *bytes;
    return true;
}

/* What the heap holds more in the middle of a run than before it. */
static size_t heap_of(setting *s, const char *name, qa_base_cache_mode mode) {
    const size_t before = heap_bytes();
    size_t during = 0;
    s->options.on_metrics = measure_heap;
    s->options.user = &during;
    free(train(s, name, mode, QA_OK));
    return during - before;
}

enum {
    SMALL_THINGS = 2048, /* paths, names; 816 bytes observed */
    ATTEMPTS = 5         /* the heap may leave the rest of a piece that it reuses to whoever asked, in one run in ten */
};

/* What is announced is what the heap holds more with the cache than without it. */
START_TEST(the_memory_is_as_announced) {
    const qa_base_cache_mode modes[] = {QA_BASE_CACHE_MEMORY, QA_BASE_CACHE_DISK};
    setting s;
    qa_error err = {0};
    qa_base_cache_mode mode = QA_BASE_CACHE_OFF;
    size_t memory = 0, disk = 0;
    open_setting(&s, 0.0);
    free(train(&s, "first", QA_BASE_CACHE_OFF, QA_OK)); /* what is allocated once */
    s.options.base_cache = modes[_i];
    qa_expect_ok(qa_train_base_cache(s.fixture.model, s.pairs, s.evaluation, &s.options, &mode, &memory, &disk, &err),
                 &err);
    ck_assert_int_eq((int)mode, (int)modes[_i]);
    ck_assert_uint_eq(disk > 0, mode == QA_BASE_CACHE_DISK);
    double allocated = NAN;
    for (int i = 0; i < ATTEMPTS && !(fabs(allocated - (double)memory) < SMALL_THINGS); i++) {
        char off[16], kept[16];
        (void)snprintf(off, sizeof off, "off-%d", i);
        (void)snprintf(kept, sizeof kept, "kept-%d", i);
        const size_t without = heap_of(&s, off, QA_BASE_CACHE_OFF), with = heap_of(&s, kept, modes[_i]);
        allocated = (double)with - (double)without; /* of small things the run without may have more */
    }
    ck_assert_msg(fabs(allocated - (double)memory) < SMALL_THINGS, "announced %zu, allocated %g", memory, allocated);
    close_setting(&s);
}
END_TEST
#endif

Suite *train_base_cache_runs_suite(void);
Suite *train_base_cache_runs_suite(void) {
    Suite *suite = suite_create("train_base_cache_runs");
    TCase *tcase = tcase_create("runs");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, theory);
    tcase_add_loop_test(tcase, published, 0, 2);
    tcase_add_loop_test(tcase, other_methods, 0, 3);
    tcase_add_test(tcase, a_run_that_visits_nothing_twice);
    tcase_add_loop_test(tcase, resuming, 0, 3);
    tcase_add_loop_test(tcase, a_failing_disk, 0, TROUBLES);
    tcase_add_test(tcase, the_file_has_no_name);
    tcase_add_test(tcase, an_unknown_mode);
#if defined(__GLIBC__) && !defined(QA_SANITIZE) && __GLIBC_PREREQ(2, 33)
    tcase_add_loop_test(tcase, the_memory_is_as_announced, 0, 2);
#endif
    suite_add_tcase(suite, tcase);
    return suite;
}
