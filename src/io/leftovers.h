/* Temporary files that killed processes left behind.
 *
 * An output is written into ".NAME.tmp-PID-N" beside its target (file.h) and loses that name when it is complete; of a
 * process that is killed it stays. Whether its process is still there is asked of the file itself: as long as it is
 * written it is locked. A number of a process would not do, since another one may have it by now, or another machine.
 */
#ifndef QA_IO_LEFTOVERS_H
#define QA_IO_LEFTOVERS_H

#include <stdbool.h>
#include <stddef.h>

enum { QA_TEMPORARY_NAME_KEPT = 200 }; /* bytes of NAME that a temporary's name holds at the most */

/* Locks a temporary that was made this moment. False: somebody took it for a leftover just before and removed it; make
 * another. On a file system without locks it stays unlocked, and nobody can take it for a leftover. */
bool qa_temporary_claim(int descriptor);

/* Removes the temporaries of `name` (NULL: of any file) in the folder that nobody writes any more. What cannot be
 * looked at or removed stays. */
void qa_leftovers_clean(const char *folder, const char *name);

#endif
