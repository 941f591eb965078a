/* Who may ask: names of this machine, a page of the server's own, a key. */
#include "serve/guard.h"

#include <check.h>

START_TEST(hosts_of_this_machine) {
    static const char *const good[] = {"localhost", "localhost:8080", "LocalHost:1", "127.0.0.1:8080",
                                       "127.1.2.3", "[::1]:80",       "[::1]"};
    static const char *const bad[] = {"example.org",
                                      "localhost.example.org:80",
                                      "127.0.0.1.example.org",
                                      "127.evil",
                                      "[::2]:80",
                                      "localhost:80@evil",
                                      "",
                                      "localhos",
                                      "xlocalhost:80",
                                      "0.0.0.0:80",
                                      "127.0.0.1:80x",
                                      "[::1"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        ck_assert_msg(qa_host_is_loopback(good[i]), "%s", good[i]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ck_assert_msg(!qa_host_is_loopback(bad[i]), "%s", bad[i]);
    }
    ck_assert(qa_host_is_loopback(NULL));
}
END_TEST

START_TEST(origins) {
    ck_assert(qa_origin_is_same(NULL, "localhost:8080"));
    ck_assert(qa_origin_is_same("http://localhost:8080", "localhost:8080"));
    ck_assert(!qa_origin_is_same("http://localhost:8081", "localhost:8080"));
    ck_assert(!qa_origin_is_same("https://example.org", "localhost:8080"));
    ck_assert(!qa_origin_is_same("null", "localhost:8080"));
    ck_assert(!qa_origin_is_same("http://localhost:8080", NULL));
}
END_TEST

START_TEST(keys) {
    static const char *const known[] = {"one", "another"};
    ck_assert(qa_key_is_known("Bearer one", known, 2));
    ck_assert(qa_key_is_known("bearer another", known, 2));
    ck_assert(!qa_key_is_known("Bearer ", known, 2));
    ck_assert(!qa_key_is_known("Bearer on", known, 2));
    ck_assert(!qa_key_is_known("Bearer oneone", known, 2));
    ck_assert(!qa_key_is_known("Basic one", known, 2));
    ck_assert(!qa_key_is_known("one", known, 2));
    ck_assert(!qa_key_is_known(NULL, known, 2));
}
END_TEST

Suite *serve_guard_suite(void);

Suite *serve_guard_suite(void) {
    Suite *suite = suite_create("serve/guard");
    TCase *tcase = tcase_create("guard");
    tcase_add_test(tcase, hosts_of_this_machine);
    tcase_add_test(tcase, origins);
    tcase_add_test(tcase, keys);
    suite_add_tcase(suite, tcase);
    return suite;
}
