/* Without MPI built in there is nobody to reach. See link.h. */
#include "cluster/link.h"

qa_status qa_link_open(qa_link **link, qa_error *err) {
    *link = NULL;
    return qa_fail(err, QA_ERR_UNSUPPORTED,
                   "this program is built without MPI, so each process would do the whole work and write the same "
                   "files: build it with `make MPI=1`, or start one process");
}
