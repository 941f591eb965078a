# qadapter. `make help` lists the targets.
#
#   PRECISION=f32|f64   what the library computes in          (default f32)
#   SANITIZE=1          AddressSanitizer and UBSan            (its own build folder)
#   ROOMS="..."         build only these rooms of src/ and their tests
#   WITHOUT="..."       of the libraries that are optional (libmicrohttpd zlib libedit), do without these
#   MPI=1               for several ranks (mpirun, srun), by the MPI of MPICC (default mpicc)
#   PREFIX=/usr/local   where `make install` puts things (DESTDIR is honoured)
#
# Every variant builds in a folder of its own under build/, so variants never disturb each other and
# nothing has to be cleaned between them.

PRECISION ?= f32
SANITIZE  ?=
PREFIX    ?= /usr/local
DESTDIR   ?=
CC        ?= cc
AR        ?= ar
PKG_CONFIG ?= pkg-config
WERROR    ?= -Werror
MPI       ?=
MPICC     ?= mpicc
OPT       ?= -O3 -g

ROOMS     ?= base cluster io text data nn arch model rl methods infer train suite reference golden bench inspect serve cli
VERSION   := $(shell sed -n 's/^\#define QA_VERSION "\(.*\)"/\1/p' include/qadapter/status.h)

B ?= build/$(PRECISION)$(if $(SANITIZE),-asan)

PACKAGES := openblas jansson libpcre2-8 libutf8proc
# Taken where they are found: `serve` needs libmicrohttpd, .gz files zlib, line editing libedit. The source asks for
# QA_HAVE_LIBMICROHTTPD, QA_HAVE_ZLIB, QA_HAVE_LIBEDIT.
OPTIONAL := libmicrohttpd zlib libedit
WITHOUT  ?=
EXTRAS    = $(call once,EXTRAS,for p in $(filter-out $(WITHOUT),$(OPTIONAL)); do $(PKG_CONFIG) --exists $$p 2>/dev/null && echo $$p; done)
HAVE      = $(call once,HAVE,for p in $(EXTRAS); do echo -DQA_HAVE_$$p; done | tr a-z A-Z)
WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
            -Wcast-qual -Wwrite-strings -Wformat=2 -Wundef -Wvla $(WERROR)
CPPFLAGS_ALL = -Iinclude -Isrc -D_POSIX_C_SOURCE=200809L $(if $(filter f64,$(PRECISION)),-DQA_F64) $(HAVE) $(CPPFLAGS)
CFLAGS_ALL := -std=c11 $(OPT) $(WARNINGS) -fno-strict-aliasing -pthread $(CFLAGS)
# (Weak references, as to zlib, must not make a linker that leaves out what is not needed leave that out.)
LDFLAGS_ALL := -pthread -Wl,--no-as-needed $(LDFLAGS)
ifneq ($(SANITIZE),)
SAN := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
CFLAGS_ALL += $(SAN) -DQA_SANITIZE
LDFLAGS_ALL += $(SAN)
endif
# Asked for once, when first needed, so that `make deps` and `make help` work before the packages are there.
once = $(eval $(1) := $(shell $(2)))$($(1))
LIBS         = $(call once,LIBS,echo $$($(PKG_CONFIG) --libs $(PACKAGES) $(EXTRAS)) -lm $(MPI_LIBS))
LIB_CFLAGS   = $(call once,LIB_CFLAGS,$(PKG_CONFIG) --cflags $(PACKAGES) $(EXTRAS))
# Open MPI's wrapper and MPICH's each tell what they add in a way of their own; one object is compiled with it.
MPI_CFLAGS   = $(if $(MPI),$(filter -I% -D% -pthread,$(call once,MPI_CFLAGS_OF,$(MPICC) --showme:compile 2>/dev/null || $(MPICC) -compile-info)))
MPI_LIBS     = $(if $(MPI),$(call once,MPI_LIBS_OF,$(MPICC) --showme:link 2>/dev/null || $(MPICC) -link-info | cut -d' ' -f2-))
CHECK_LIBS   = $(call once,CHECK_LIBS,$(PKG_CONFIG) --libs check)
CHECK_CFLAGS = $(call once,CHECK_CFLAGS,$(PKG_CONFIG) --cflags check)

# A make of one variant, on all cores unless the caller chose; quiet but for warnings and results.
JOBS ?= $(shell nproc 2>/dev/null || echo 1)
VARIANT = +@$(MAKE) --no-print-directory $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(JOBS)) --output-sync=target -s

LIB_ROOMS := $(filter-out cli,$(ROOMS))
LIB_SRC   := $(filter-out src/cluster/cluster_$(if $(MPI),alone,mpi).c,$(foreach room,$(LIB_ROOMS),$(wildcard src/$(room)/*.c)))
CLI_SRC   := $(if $(filter cli,$(ROOMS)),$(wildcard src/cli/*.c))
TOOL_SRC  := $(if $(filter cli,$(ROOMS)),$(wildcard tools/*.c))
SUPPORT_SRC := $(wildcard tests/support/*.c)
TEST_SRC  := $(foreach room,$(ROOMS),$(wildcard tests/$(room)/test_*.c))
SHARED_SRC := $(wildcard tests/shared/test_*.c)
# The targets of the fuzzers (tests/fuzz/fuzz.h), which need all rooms; tests/fuzz/test_findings.c runs them on files.
FUZZ_SRC := $(if $(filter cli,$(ROOMS)),$(wildcard tests/fuzz/target_*.c) tests/fuzz/folder.c src/cli/mdp_file.c)
TEST_SRC += $(if $(filter cli,$(ROOMS)),tests/fuzz/test_findings.c)

LIB_OBJ := $(LIB_SRC:%.c=$(B)/obj/%.o) $(if $(filter inspect,$(ROOMS)),$(B)/obj/page_html.o) \
           $(if $(filter suite,$(ROOMS)),$(B)/obj/judge_html.o)
CLI_OBJ := $(CLI_SRC:%.c=$(B)/obj/%.o)
TOOL_BIN := $(TOOL_SRC:tools/%.c=$(B)/tools/%)
SUPPORT_OBJ := $(SUPPORT_SRC:%.c=$(B)/obj/%.o)
MAIN_OBJ := $(B)/obj/tests/support/main.o
TEST_OBJ := $(TEST_SRC:%.c=$(B)/obj/%.o)
SHARED_OBJ := $(SHARED_SRC:%.c=$(B)/obj/%.o)
FUZZ_OBJ := $(FUZZ_SRC:%.c=$(B)/obj/%.o)

LIB := $(B)/libqadapter.a
BIN := $(if $(CLI_SRC),$(B)/qadapter)

.PHONY: all help deps install-deps check check-all check-f32 check-f64 check-asan check-asan-f32 check-asan-f64 check-rooms \
        check-docs check-install check-python check-python-after cluster-check pair-way peers kill fuzz fuzz-targets run-checks tests demo replicate replicate-real weights golden golden-files reference man python \
        install-python install uninstall format clean
.DELETE_ON_ERROR:
.SECONDARY:

all: $(LIB) $(BIN) $(TOOL_BIN) $(if $(BIN),$(B)/qadapter.1 $(B)/qadapter.pc)

help:
	@echo "make deps        install the packages (Debian, Ubuntu; asks for root); with MPI=1 an MPI, too"
	@echo "make             build build/f32/qadapter, the library and the tools"
	@echo "make demo        train an adapter on the bundled model for one register, measure it, let it speak"
	@echo "make replicate   docs/replication.md; PART=forget one part (tools/replicate --list); Ctrl-C and again continues"
	@echo "make replicate-real DSP=FOLDER   the same question on a real model, docs/real-model.md"
	@echo "make weights     remake weights/village from nothing: about an hour on two cores, and it can be interrupted"
	@echo "make golden      remake the golden bundles of weights/golden, byte for byte"
	@echo "make conformance  the vectors of weights/conformance in NumPy, PyTorch, JAX and TRL, those that are there"
	@echo "make conformance-vectors  remake the vectors of weights/conformance, byte for byte; needs MPFR"
	@echo "make conformance-archive  vectors, bundles, schema and runners in one archive, reproducible to the byte"
	@echo "make reference   print one pair's way through the method, from token ids to the adapter after a step"
	@echo "make check       all tests, in single and in double precision"
	@echo "make check-asan  the same under AddressSanitizer and UBSan, in single precision (check-asan-f64: in double)"
	@echo "make kill        kill runs at every call that changes a file and at random moments, go on, compare: minutes"
	@echo "make cluster-check  runs under mpirun, with OpenMPI and MPICH, beside one process: the same bytes, no rank left over"
	@echo "make peers       the program beside transformers, PEFT, TRL and lm-evaluation-harness, in a virtual environment"
	@echo "make pair-way    the functions and files that one training pair runs through"
	@echo "make fuzz        attack every parser for TIME seconds in all (default 600); needs clang"
	@echo "make install     binary, library, headers, pkg-config file and man page under PREFIX=$(PREFIX)"
	@echo "make python      build/python: libqadapter.so and qadapter.py; make install-python puts them into PYTHON_DIR"
	@echo "make format      clang-format over src, include, tests and tools"
	@echo "make clean       remove build/"
	@echo "PRECISION=f64 builds the same source in double; see the head of the Makefile."

# ---- building ----

# A file that changes when the compiler or its flags do, and one when the list of sources does: what was built
# otherwise is then built again, and a removed source leaves no trace in the library.
$(B)/flags: FORCE
	@$(PKG_CONFIG) --exists $(PACKAGES) 2>/dev/null || { echo "qadapter needs pkg-config and $(PACKAGES), with their" \
	  "headers, and not all of them are there: \`make deps\` installs them (Debian, Ubuntu)" >&2; exit 1; }
	@mkdir -p $(@D)
	@echo '$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(LDFLAGS_ALL)' > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@
$(B)/sources: FORCE
	@mkdir -p $(@D)
	@echo '$(LIB_OBJ) $(CLI_OBJ) $(SUPPORT_OBJ)' > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@
# The same for PREFIX, which is written into the pkg-config file: `make` and then `make install PREFIX=...` is right.
$(B)/prefix: FORCE
	@mkdir -p $(@D)
	@echo '$(PREFIX)' > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

$(B)/obj/src/%.o: src/%.c $(B)/flags
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS_ALL) $(LIB_CFLAGS) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

# Only this object knows MPI: a variant with it can begin as a copy of one without.
$(B)/mpi: FORCE
	@command -v $(MPICC) >/dev/null || { echo "MPI=1 needs an MPI, and there is no $(MPICC): \`make install-deps MPI=1\`" \
	  "installs one (Debian, Ubuntu)" >&2; exit 1; }
	@mkdir -p $(@D)
	@echo '$(MPICC) $(MPI_CFLAGS) $(MPI_LIBS)' > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@
$(B)/obj/src/cluster/cluster_mpi.o: $(B)/mpi
$(B)/obj/src/cluster/cluster_mpi.o: CPPFLAGS += $(MPI_CFLAGS)

# The pages, as arrays of bytes.
$(B)/obj/page_html.c: src/inspect/page.html tools/embed
	@mkdir -p $(@D)
	sh tools/embed qa_page_html src/inspect/page.html > $@
$(B)/obj/judge_html.c: src/suite/judge.html tools/embed
	@mkdir -p $(@D)
	sh tools/embed qa_judge_html src/suite/judge.html > $@
$(B)/obj/%_html.o: $(B)/obj/%_html.c $(B)/flags
	$(CC) $(CFLAGS_ALL) -c -o $@ $<

$(B)/obj/tests/%.o: tests/%.c $(B)/flags
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS_ALL) -Itests $(LIB_CFLAGS) $(CHECK_CFLAGS) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

$(LIB): $(LIB_OBJ) $(B)/sources
	@rm -f $@
	$(AR) rcs $@ $(LIB_OBJ)

$(B)/qadapter: $(CLI_OBJ) $(LIB) $(B)/sources
	$(CC) $(LDFLAGS_ALL) -o $@ $(CLI_OBJ) $(LIB) $(LIBS)

TOOL_SUPPORT := $(wildcard tools/support/*.c)
$(B)/tools/%: tools/%.c $(TOOL_SUPPORT) $(wildcard tools/*.h tools/support/*.h) $(LIB) $(B)/flags
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS_ALL) -Itools $(LIB_CFLAGS) $(CFLAGS_ALL) -MMD -MP -MF $@.d -o $@ $< $(TOOL_SUPPORT) $(LDFLAGS_ALL) $(LIB) $(LIBS)

# A tool with parts in a folder of its own: tools/village.c and tools/village/*.c.
VILLAGE_PARTS := $(wildcard tools/village/*.c)
$(B)/tools/village: tools/village.c $(VILLAGE_PARTS) $(TOOL_SUPPORT) $(wildcard tools/village/*.h) $(LIB) $(B)/flags
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS_ALL) -Itools $(LIB_CFLAGS) $(CFLAGS_ALL) -o $@ tools/village.c $(VILLAGE_PARTS) $(TOOL_SUPPORT) $(LDFLAGS_ALL) $(LIB) $(LIBS)

# The vectors of weights/conformance are computed at 256 bits, which nothing else needs.
CONFORMANCE_PARTS := $(wildcard tools/conformance/*.c)
$(B)/tools/conformance: $(CONFORMANCE_PARTS) $(wildcard tools/conformance/*.h) $(LIB) $(B)/flags
	@$(PKG_CONFIG) --exists mpfr || { echo "the conformance vectors are made with MPFR: apt-get install libmpfr-dev" >&2; exit 1; }
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS_ALL) -Itools $(LIB_CFLAGS) $(shell $(PKG_CONFIG) --cflags mpfr) $(CFLAGS_ALL) -o $@ $(CONFORMANCE_PARTS) $(LDFLAGS_ALL) $(LIB) $(LIBS) $(shell $(PKG_CONFIG) --libs mpfr)

# The man page is printed by the program itself, from the option tables that also print --help.
$(B)/qadapter.1: $(B)/qadapter
	$(B)/qadapter help --man > $@

# The library is an archive, so whoever links it needs what it needs: Requires, and not Requires.private, whose --static
# would ask for OpenBLAS' own Fortran libraries too.
$(B)/qadapter.pc: Makefile include/qadapter.h $(B)/prefix
	@printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$${prefix}/lib' 'includedir=$${prefix}/include' '' 'Name: qadapter' \
	  'Description: customised language models by residual Q-learning ($(PRECISION))' 'Version: $(VERSION)' \
	  'Requires: $(PACKAGES) $(filter-out libedit,$(EXTRAS))' 'Libs: -L$${libdir} -lqadapter -lm -pthread$(if $(MPI), $(MPI_LIBS))' \
	  'Cflags: -I$${includedir}' > $@

# ---- tests ----
# tests/ROOM/test_NAME.c defines  Suite *ROOM_NAME_suite(void);  the lists of suites are generated from the file names.

suite_names = $(foreach f,$(1),$(patsubst tests/%,%,$(dir $(f)))$(patsubst test_%.c,%,$(notdir $(f)))_suite)
define suites_c
	@mkdir -p $(@D)
	@{ echo '#include <check.h>'; \
	   for s in $(subst /,_,$(call suite_names,$(1))); do echo "Suite *$$s(void);"; done; \
	   echo 'Suite *(*const qa_suites[])(void) = {'; \
	   for s in $(subst /,_,$(call suite_names,$(1))); do echo "    $$s,"; done; echo '    0};'; } > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@
endef

$(B)/tests/suites.c: FORCE ; $(call suites_c,$(TEST_SRC))
$(B)/tests/shared_suites.c: FORCE ; $(call suites_c,$(SHARED_SRC))
.PHONY: FORCE
FORCE:

$(B)/tests/suites.o $(B)/tests/shared_suites.o: %.o: %.c $(B)/flags
	$(CC) $(CPPFLAGS_ALL) $(CHECK_CFLAGS) $(CFLAGS_ALL) -Wno-missing-prototypes -c -o $@ $<

# An archive, so that a runner of a few rooms takes only the support that it uses.
$(B)/tests/libsupport.a: $(SUPPORT_OBJ) $(B)/sources
	@rm -f $@
	$(AR) rcs $@ $(filter-out $(MAIN_OBJ),$(SUPPORT_OBJ))

# The commands, for the tests of their tables.
$(B)/tests/libcli.a: $(CLI_OBJ) $(B)/sources
	@rm -f $@
	$(AR) rcs $@ $(filter-out %/main.o %/sources,$^)

$(B)/tests/run-tests: $(TEST_OBJ) $(FUZZ_OBJ) $(MAIN_OBJ) $(B)/tests/suites.o $(B)/tests/libsupport.a \
                      $(if $(CLI_OBJ),$(B)/tests/libcli.a) $(LIB)
	$(CC) $(LDFLAGS_ALL) -o $@ $(filter-out %/sources,$^) $(CHECK_LIBS) $(LIBS)

$(B)/tests/run-shared: $(SHARED_OBJ) $(MAIN_OBJ) $(B)/tests/shared_suites.o $(B)/tests/libsupport.a $(LIB)
	$(CC) $(LDFLAGS_ALL) -o $@ $(filter-out %/sources,$^) $(CHECK_LIBS) $(LIBS)

tests: $(B)/tests/run-tests $(if $(SHARED_SRC),$(B)/tests/run-shared)

# One variant's tests. QA_BIN tells the command-line tests which program to run, QA_TOOLS where the tools are.
run-checks: all tests
	@echo "== tests, $(PRECISION)$(if $(SANITIZE), under AddressSanitizer and UBSan)"
	QA_BIN=$(abspath $(B)/qadapter) QA_TOOLS=$(abspath $(B)/tools) $(B)/tests/run-tests
	$(if $(SHARED_SRC),QA_BIN=$(abspath $(B)/qadapter) QA_TOOLS=$(abspath $(B)/tools) $(B)/tests/run-shared)

# The same in parts, as many beside each other as there are jobs, for the slow ones.
TEST_PARTS := 12
run-parts: $(patsubst %,run-part-%,$(shell seq $(TEST_PARTS)))
run-part-%: all tests
	@echo "== tests, part $* of $(TEST_PARTS), $(PRECISION)$(if $(SANITIZE), under AddressSanitizer and UBSan)"
	QA_TEST_PART=$*/$(TEST_PARTS) QA_BIN=$(abspath $(B)/qadapter) QA_TOOLS=$(abspath $(B)/tools) $(B)/tests/run-tests
	$(if $(SHARED_SRC),QA_TEST_PART=$*/$(TEST_PARTS) QA_BIN=$(abspath $(B)/qadapter) QA_TOOLS=$(abspath $(B)/tools) $(B)/tests/run-shared)

# The two precisions are independent builds and run beside each other when there are cores for both.
check: deps ; $(VARIANT) check-all
# Under the sanitizers, single precision alone: they look at memory, and the other precision is the same source.
check-asan: check-asan-f32
check-all: check-rooms check-docs check-f32 check-f64 check-install check-python-after
check-f32: deps ; $(VARIANT) PRECISION=f32 SANITIZE= run-checks
check-f64: deps ; $(VARIANT) PRECISION=f64 SANITIZE= run-checks
check-asan-f32: deps ; $(VARIANT) PRECISION=f32 SANITIZE=1 OPT='-O1 -g' run-parts
check-asan-f64: deps ; $(VARIANT) PRECISION=f64 SANITIZE=1 OPT='-O1 -g' run-parts

# The functions and files that one training pair runs through.
pair-way: deps
	$(VARIANT) B=build/way OPT='-O0 -gdwarf-4' CFLAGS='-finstrument-functions -DQA_ONE_KERNEL' LDFLAGS=-no-pie build/way/tools/pair_way
	sh tools/pair-way build/way weights/village/model

# The program beside transformers, PEFT, TRL, the authors' formula and lm-evaluation-harness: docs/peers.md. PEERS names
# single checks or other options of tools/peers/run, PEERS_VENV an environment that has its packages.
peers: deps
	sh tools/peers/run $(PEERS)

# Kills runs at every call that changes a file and at random moments, goes on, and compares the results: some minutes.
kill: deps
	$(VARIANT) PRECISION=f64 SANITIZE= B=build/f64 build/f64/qadapter
	$(VARIANT) PRECISION=f32 SANITIZE= B=build/f32 all build/f32/tests/kill_at.so
	sh tests/kill/run build/f32 build/f64
$(B)/tests/kill_at.so: tests/kill/kill_at.c $(B)/flags
	@mkdir -p $(@D)
	$(CC) -std=c11 -O1 -g $(WARNINGS) -fPIC -shared -o $@ $< -ldl

# Ranks that exchange something, for tests/cluster/protocol.
$(B)/tests/ranks: tests/cluster/ranks.c $(LIB) $(B)/flags
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -o $@ $< $(LDFLAGS_ALL) $(LIB) $(LIBS)

# Several ranks, with OpenMPI and MPICH (MPIS), beside one process and against what can go wrong with one of them.
cluster-check: deps
	$(VARIANT) PRECISION=f32 SANITIZE= MPI= B=build/f32 all
	sh tests/cluster/run build/f32

# Fuzzing: every target of tests/fuzz for its share of TIME seconds, under the sanitizers. Needs clang; make check runs the
# same targets on what was ever found.
TIME ?= 600
fuzz: deps
	@command -v clang >/dev/null || { echo "make fuzz needs clang and its runtime: apt-get install clang" \
	  "libclang-rt-14-dev (or the version that clang --version names)" >&2; exit 1; }
	$(VARIANT) CC=clang B=build/fuzz OPT='-O1 -g' WERROR= \
	  CFLAGS='-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -DQA_SANITIZE' \
	  LDFLAGS='-fsanitize=address,undefined' fuzz-targets
	sh tests/fuzz/run build/fuzz $(TIME)

FUZZ_NAMES := $(patsubst tests/fuzz/target_%.c,%,$(wildcard tests/fuzz/target_*.c))
fuzz-targets: $(FUZZ_NAMES:%=$(B)/fuzz-%)
$(B)/fuzz-%: tests/fuzz/fuzz_main.c $(FUZZ_OBJ) $(LIB)
	$(CC) $(CPPFLAGS_ALL) -Itests $(CFLAGS_ALL) -DQA_FUZZ_TARGET=qa_fuzz_$* -o $@ $^ $(LDFLAGS_ALL) -fsanitize=fuzzer $(LIBS)

# Dependencies between rooms go downwards only; the library neither prints nor exits.
check-rooms:
	sh tools/check-rooms

# Every file, function, test and link that the documents name is there.
check-docs:
	sh tools/check-docs

# What `make install` puts down is enough for a C program that knows nothing but pkg-config.
check-install: check-f32
	sh tools/check-install

# qadapter.py beside the program: with PYTHON, and where it is another one with the system's own Python 3.
check-python: deps
	@command -v $(PYTHON) >/dev/null || { echo "python: skipped, there is no Python 3"; exit 0; }; \
	$(MAKE) --no-print-directory -s python && $(MAKE) --no-print-directory -s PRECISION=f32 SANITIZE= build/f32/qadapter && \
	for python in $$(readlink -f $$(command -v $(PYTHON)) /usr/bin/python3 2>/dev/null | sort -u); do \
	  $$python tests/python/test_qadapter.py build/python build/f32/qadapter || exit 1; done
check-python-after: check-f32
	+@$(MAKE) --no-print-directory check-python

# ---- for people ----

deps install-deps:
	@$(if $(MPI),MPICC='$(MPICC)') sh tools/install-deps

demo: deps
	$(VARIANT) all
	sh tools/demo $(B)

# Every method on every preference, sweeps, tables and figures. QUICK=1: a smoke test of a few minutes.
replicate: deps
	$(VARIANT) all
	sh tools/replicate $(B)

# The paper's experiment on SmolLM2-135M-Instruct with pairs that a user brings: DSP=FOLDER.
replicate-real: deps
	$(VARIANT) all
	sh tools/replicate_real $(B)

# weights/village: world, tokenizer, pre-training, suite, preferences. Continues where it was interrupted.
weights: deps
	$(VARIANT) all
	sh tools/make-weights $(B)

# The bundles of weights/golden, inputs and all, from tools/make_golden.c: the same bytes everywhere.
golden: deps
	$(VARIANT) PRECISION=f64 SANITIZE= B=build/f64 golden-files
golden-files: $(B)/tools/make_golden
	$(B)/tools/make_golden weights/golden

# What the runners of weights/conformance make of the vectors, those whose packages are there.
.PHONY: conformance
conformance: deps
	$(VARIANT) PRECISION=f64 SANITIZE= B=build/f64 build/f64/qadapter
	sh tools/conformance/run build/f64/qadapter

# The vectors of weights/conformance from tools/conformance/cases.json: the same bytes everywhere.
.PHONY: conformance-vectors
conformance-vectors: deps
	$(VARIANT) $(B)/tools/conformance
	$(B)/tools/conformance tools/conformance/cases.json weights/conformance

# Vectors, bundles, schema, runners, checksums, licence and documents: the same bytes every time.
.PHONY: conformance-archive
conformance-archive:
	@sh tools/conformance/archive $(VERSION) build/qadapter-conformance-$(VERSION).tar.gz

# One pair's way through src/reference, in numbers; OBJECTIVE=published: under the other objective.
reference: deps
	$(VARIANT) $(B)/tools/reference
	@$(B)/tools/reference $(OBJECTIVE)

# For Python: libqadapter.so and qadapter.py in build/python (build/python-f64 in double). What the headers declare is
# a table in the library, and only what the module names is visible in it.
PYTHON     ?= python3
PYTHON_OUT := build/python$(if $(filter f64,$(PRECISION)),-f64)
PYTHON_DIR ?= $(shell $(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
python: deps
	@command -v $(PYTHON) >/dev/null || { echo "make python needs Python 3 (PYTHON names an interpreter)" >&2; exit 1; }
	$(VARIANT) B=$(PYTHON_OUT) SANITIZE= CFLAGS='-fPIC -ffunction-sections -fdata-sections' $(PYTHON_OUT)/libqadapter.so
$(B)/interface.c: tools/python/interface include/qadapter/*.h
	@mkdir -p $(@D)
	$(PYTHON) tools/python/interface table include > $@
$(B)/exports.map: tools/python/interface tools/python/qadapter.py include/qadapter/*.h
	$(PYTHON) tools/python/interface exports include tools/python/qadapter.py > $@
$(B)/libqadapter.so: $(LIB_OBJ) $(B)/interface.c $(B)/exports.map $(B)/sources tools/python/qadapter.py
	$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(LDFLAGS_ALL) -shared -Wl,--version-script=$(B)/exports.map -Wl,--gc-sections \
	  -Wl,--as-needed -Wl,-z,defs -o $@ $(B)/interface.c $(LIB_OBJ) $(LIBS)
	cp tools/python/qadapter.py $(@D)/qadapter.py
install-python: python
	install -d $(DESTDIR)$(PYTHON_DIR)
	install -m 755 $(PYTHON_OUT)/libqadapter.so $(DESTDIR)$(PYTHON_DIR)/libqadapter.so
	install -m 644 $(PYTHON_OUT)/qadapter.py $(DESTDIR)$(PYTHON_DIR)/qadapter.py

man: $(B)/qadapter.1

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/include/qadapter \
	  $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 755 $(B)/qadapter $(DESTDIR)$(PREFIX)/bin/qadapter
	install -m 644 $(LIB) $(DESTDIR)$(PREFIX)/lib/libqadapter.a
	install -m 644 include/qadapter.h $(DESTDIR)$(PREFIX)/include/qadapter.h
	install -m 644 include/qadapter/*.h $(DESTDIR)$(PREFIX)/include/qadapter/
	install -m 644 $(B)/qadapter.pc $(DESTDIR)$(PREFIX)/lib/pkgconfig/qadapter.pc
	install -m 644 $(B)/qadapter.1 $(DESTDIR)$(PREFIX)/share/man/man1/qadapter.1

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/qadapter $(DESTDIR)$(PREFIX)/lib/libqadapter.a \
	  $(DESTDIR)$(PREFIX)/lib/pkgconfig/qadapter.pc $(DESTDIR)$(PREFIX)/share/man/man1/qadapter.1 \
	  $(DESTDIR)$(PREFIX)/include/qadapter.h
	rm -rf $(DESTDIR)$(PREFIX)/include/qadapter

format:
	clang-format -i $$(git ls-files '*.c' '*.h')

clean:
	rm -rf build

-include $(LIB_OBJ:.o=.d) $(FUZZ_OBJ:.o=.d) $(CLI_OBJ:.o=.d) $(SUPPORT_OBJ:.o=.d) $(TEST_OBJ:.o=.d) $(SHARED_OBJ:.o=.d) $(TOOL_BIN:%=%.d)
