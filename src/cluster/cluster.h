/* The ranks of a run: processes that a launcher (mpirun, srun) started together, on one machine or on many.
 *
 * Rank r is one of 0 .. ranks-1; what is printed and written is rank 0's. A NULL cluster is a world of one everywhere:
 * every call then does what it says for one rank, at once, and so does a program that is built without MPI.
 *
 * The calls that take an error exchange something: all ranks make the same ones in the same order, from the thread that
 * began the cluster. Every exchange begins by a meeting, to which each rank brings which call it makes, of which sizes,
 * and whether it failed before. So a rank that fails needs to tell nobody: it unwinds as usual and meets the others,
 * wherever they are, in qa_cluster_finish; they get its failure from the call that they are in, and unwind, too. From
 * then on every call returns that same failure at once. Calls or sizes that differ between ranks are
 * QA_ERR_MISMATCH, "rank 2 of 4 (HOST) ...", on all ranks. What a call needs is allocated before it meets.
 *
 * A rank waits politely (it sleeps, there may be more ranks than processors), and not for ever: after
 * QA_CLUSTER_TIMEOUT seconds (a variable of the environment, default 1800) the call is QA_ERR_IO, with the ranks that
 * did not come; qa_cluster_end then ends the other processes, too. */
#ifndef QA_CLUSTER_CLUSTER_H
#define QA_CLUSTER_CLUSTER_H

#include "base/real.h"
#include "qadapter/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct qa_cluster qa_cluster;

/* The cluster that a launcher started this process in; *cluster NULL: none did, or this process alone. Refused
 * (QA_ERR_UNSUPPORTED), with the way out: one of several processes without MPI built in, or with an MPI that does not
 * see the others. QA_ERR_MISMATCH: ranks of another version or precision. QA_ERR_ARGUMENT: QA_CLUSTER_TIMEOUT. After
 * a failure, too, *cluster may not be NULL; it is then ended as usual. */
QA_MUST_CHECK qa_status qa_cluster_begin(qa_cluster **cluster, qa_error *err);

/* The last exchange of a run, with the status that it ended with on this rank: as qa_cluster_agree. *signal (>= 0, what
 * stopped this rank) becomes the largest of all ranks', unless an earlier call has failed. */
QA_MUST_CHECK qa_status qa_cluster_finish(qa_cluster *cluster, qa_status status, int *signal, qa_error *err);

/* Waits for the others to come here, so that a launcher ends nobody who still prints, and frees. Where ranks were lost,
 * it ends the others' processes and this one with exit status `exit_status`. */
void qa_cluster_end(qa_cluster *cluster, int exit_status);

size_t qa_cluster_rank(const qa_cluster *cluster);       /* 0 of NULL */
size_t qa_cluster_ranks(const qa_cluster *cluster);      /* 1 of NULL */
size_t qa_cluster_neighbours(const qa_cluster *cluster); /* ranks on this machine, this one included; 1 of NULL */

/* Processors of this machine for each of its ranks, at least one; *allowed: those that the launcher lets this rank run
 * on, which may be fewer (it is bound to them), or more (it shares them). */
size_t qa_cluster_share_of_processors(const qa_cluster *cluster, size_t *allowed);

/* Whether this process tells of a failure: rank 0, and a rank that lost the others. Of NULL: whether no launcher calls
 * this process another one than its first. */
bool qa_cluster_tells(const qa_cluster *cluster);

/* Seconds that this rank waited in meetings until the last rank had come, and that exchanges took from there on. */
double qa_cluster_waited(const qa_cluster *cluster);
double qa_cluster_exchanged(const qa_cluster *cluster);

/* QA_OK when every rank brought QA_OK. Else the same failure on every rank: that of the lowest rank that failed, with
 * "rank 2 of 4 (HOST): " in front of its message; QA_ERR_INTERRUPTED only when nobody has another, which is not
 * the end of the exchange where all ranks were in this call: they may save. err holds this rank's own message when
 * status is not QA_OK. */
QA_MUST_CHECK qa_status qa_cluster_agree(qa_cluster *cluster, qa_status status, qa_error *err);

/* *flag becomes true on every rank when it is true on one. */
QA_MUST_CHECK qa_status qa_cluster_any(qa_cluster *cluster, bool *flag, qa_error *err);

/* Rank r has filled the rows first[r] .. first[r + 1] - 1 of row_bytes bytes each; afterwards every rank has all of
 * them. first[ranks + 1] begins with 0, does not descend, and is the same on all ranks. */
QA_MUST_CHECK qa_status qa_cluster_gather(qa_cluster *cluster, void *rows, size_t row_bytes, const size_t *first,
                                          qa_error *err);

/* The same of one row a rank: rank r has filled rows[r]. */
QA_MUST_CHECK qa_status qa_cluster_gather_each(qa_cluster *cluster, void *rows, size_t row_bytes, qa_error *err);

/* The ranks' texts one behind the other, in the order of ranks, at rank 0: *all[*all_bytes], the caller's (free), with
 * a zero behind it. The others get NULL and 0. mine may be NULL with bytes 0. */
QA_MUST_CHECK qa_status qa_cluster_texts(qa_cluster *cluster, const char *mine, size_t bytes, char **all,
                                         size_t *all_bytes, qa_error *err);

/* bytes[n] of rank 0 go to every rank. n is the same on all ranks. */
QA_MUST_CHECK qa_status qa_cluster_share(qa_cluster *cluster, void *bytes, size_t n, qa_error *err);

/* QA_ERR_MISMATCH, "rank 2 of 4 (HOST) has another WHAT than rank 0", where the digest (qa_sha256) of a rank differs.
 */
QA_MUST_CHECK qa_status qa_cluster_same(qa_cluster *cluster, const char *what, const unsigned char digest[32],
                                        qa_error *err);

/* Adds up nodes[n_nodes], of n elements each, in an order that is a function of n_nodes and `user` alone, and leaves
 * the sum in nodes[0]; the others are its scratch. What it does to an element depends on no other element. */
typedef void (*qa_cluster_merge)(void *user, qa_real *const *nodes, size_t n_nodes, size_t n);

/* The sum of all ranks' nodes, the same bits on every rank: every node is cut into a slice a rank, slices go to their
 * ranks, each of which merges its own, and the merged ones go to all. Rank r's nodes are the numbers
 * first_node[r] .. first_node[r + 1] - 1 of all that `merge` gets, and mine[first_node[r + 1] - first_node[r]] on it,
 * of `count` elements each; they are scratch afterwards. sum[count] may be one of them. first_node[ranks + 1] as
 * `first` of qa_cluster_gather; of no node at all the sum is zero. */
QA_MUST_CHECK qa_status qa_cluster_sum_slices(qa_cluster *cluster, qa_real *const *mine, const size_t *first_node,
                                              size_t count, qa_real *sum, qa_cluster_merge merge, void *user,
                                              qa_error *err);

/* Contiguous ranges of n items for `ranks` ranks, first[r] .. first[r + 1] - 1 for rank r, so that the costliest range
 * costs as little as contiguous ranges can; there may be empty ones. A function of its arguments alone. costs NULL: all
 * the same. first[ranks + 1]. */
void qa_cluster_cut(const size_t *costs, size_t n, size_t ranks, size_t *first);

#endif
