/* The tojson filter of transformers: json.dumps with ensure_ascii, indent, separators and sort_keys. */
#ifndef QA_TEXT_TEMPLATE_JSON_H
#define QA_TEXT_TEMPLATE_JSON_H

#include "text/template_print.h"

typedef struct qa_tv_json_options {
    bool ascii, sorted;
    const qa_tv_string *indent; /* NULL: everything on one line */
    const qa_tv_string *between_items, *behind_key;
} qa_tv_json_options;

qa_tv qa_tv_to_json(qa_tv_run *run, const qa_tv *value, const qa_tv_json_options *options);

#endif
