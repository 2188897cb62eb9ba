# vn: one non-recursive Makefile.
#
#   make              all that this machine can build, into bin/
#   make check        install what is missing, build, run the tests; ends with the tally
#   make demo         install what is missing, build, and call 48 real reads
#   make help         this text
#
#   make deps         install the Debian/Ubuntu packages that are missing (apt-get, sudo)
#   make check-built  the tests, without looking for packages
#   make check-emu    the CUDA backend emulated on this processor, with more shapes than check
#   make check-san    the tests under AddressSanitizer and UndefinedBehaviorSanitizer
#   make check-oracle compare with fair-esm, PyArrow, polars: makes a Python environment
#                     of about 6 GB in build/oracle-venv, once
#                     check-oracle-gpu: the embeddings among them on an NVIDIA GPU, and whole
#                     models beside transformers there
#   make check-real   VirNucPro's own results, with the published weights: in VN_MODELS,
#                     esm2_t36_3B_UR50D, DNABERT-S and virnucpro-500 as vn-model import
#                     makes them. Parts whose weights are missing are skipped
#   make check-gpu    the tests on an NVIDIA GPU, with CUDA; fails where there is none.
#                     check-gpu-built: of what has been built before
#   make bench-gpu    speed on an NVIDIA GPU beside PyTorch and cuBLASLt, as a table;
#                     BENCH_PARTS="3B 8M" selects. bench-gpu-built: as above
#   make bench        the benchmarks, with the machine and the versions
#   make install      programs, manual pages and the models that ship below PREFIX
#   make uninstall    takes them away again
#   make clean        removes what was built (the Python environment stays)
#   make print-config says what would be built
#
# Knobs, on the command line (make CC=clang OPT=-O3):
#
#   CC, OPT=-O2, CFLAGS, CPPFLAGS, LDFLAGS    compiler and flags
#   CUDA=0|1          the CUDA backend (default: where nvcc is found, but not under SAN)
#   ARCH="75 80 86 89 90"  compute capabilities to build kernels for; the last also as PTX
#   ONEDNN=0|1        matrix products by oneDNN (default: where its header is found)
#   HTSLIB=0|1        SAM, BAM and CRAM input by htslib (default: where its header is found)
#   SAN=LIST          sanitizers, for instance SAN=address,undefined
#   WERROR=0          warnings are not errors
#   PREFIX=/usr/local DESTDIR=                where make install puts things
#   ORACLE_PYTHON=X   a Python with tests/oracle/requirements.txt, for check-oracle, bench
#   V=1               show the commands
#
# A file of src/ with a hyphen in its name is a program (one in .sh a script, which gets its
# version), one without is the library.
# Objects live in build/<configuration>/, so that switching SAN, CUDA or ONEDNN back and
# forth rebuilds nothing twice; other flags rebuild when they change. bin/ holds the
# configuration built last, and build/last points to it.

ifeq ($(origin CC),default) # make's own default is no choice of anybody
CC      := gcc
endif
NVCC    ?= nvcc
PREFIX  ?= /usr/local
DESTDIR ?=
ORACLE_PYTHON ?=
V       ?= 0
SAN     ?=
WERROR  ?= 1

have = $(shell printf '\043include <$(1)>\n' | $(CC) -E - >/dev/null 2>&1 && echo 1 || echo 0)
ifeq ($(origin ONEDNN),undefined)
ONEDNN := $(call have,dnnl.h)
endif
nvcc := $(shell command -v $(NVCC))
CUDA   ?= $(if $(nvcc),$(if $(SAN),0,1),0)
ifeq ($(origin HTSLIB),undefined)
HTSLIB := $(call have,htslib/sam.h)
endif
OPT    ?= -O2

comma := ,
CONF  := $(if $(SAN),san-$(subst $(comma),-,$(SAN)),release)$(if $(filter 1,$(CUDA)),$(if $(SAN),-cuda),$(if $(SAN),,-nocuda))$(if $(filter 1,$(ONEDNN)),,-noonednn)$(if $(filter 1,$(HTSLIB)),,-nohtslib)
B     := build/$(subst $(comma),-,$(CONF))

WARN   := -Wall -Wextra -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition \
          -Wvla -Wwrite-strings -Wshadow -Wpointer-arith -Wundef -Wno-unknown-warning-option \
          -Wno-format-truncation -Wno-bitwise-instead-of-logical \
          $(if $(filter 1,$(WERROR)),-Werror)
override CPPFLAGS += -D_GNU_SOURCE -Isrc -DVN_HAVE_ONEDNN=$(ONEDNN) -DVN_HAVE_CUDA=$(CUDA)
override CFLAGS += -std=c11 $(OPT) -g -pthread $(WARN) $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer)
override LDFLAGS += -pthread $(if $(SAN),-fsanitize=$(SAN)) -Wl,--as-needed
CFLAGS_reads = -DVN_HAVE_HTSLIB=$(HTSLIB)
# The vector kernels are compiled once per instruction set and chosen at run time.
X86 := $(filter x86_64% amd64%,$(shell $(CC) -dumpmachine))
CFLAGS_cpu_generic = -O3
CFLAGS_cpu_avx2    = -O3 $(if $(X86),-mavx2 -mfma -mf16c)
CFLAGS_cpu_avx512  = -O3 $(if $(X86),-mavx512f -mavx512bw -mavx512vl -mavx512dq \
                     -mprefer-vector-width=512)

# CUDA: the objects form an archive of their own, so that only programs that open a backend
# link it; ARCH lists compute capabilities, the last one is also kept as PTX for later ones
ARCH      ?= 75 80 86 89 90
CUDA_HOME ?= $(patsubst %/bin/,%,$(dir $(realpath $(nvcc))))
NVCCFLAGS += -std=c++17 -O3 -Isrc -Xcompiler -Wall$(comma)-Wextra$(if $(filter 1,$(WERROR)),$(comma)-Werror) \
             -Xcompiler -fno-threadsafe-statics$(comma)-fno-exceptions$(comma)-fno-rtti \
             $(if $(filter 1,$(WERROR)),-Werror all-warnings) \
             $(foreach a,$(patsubst 90,90a,$(ARCH)),-gencode arch=compute_$(a)$(comma)code=sm_$(a)) \
             -gencode arch=compute_$(lastword $(ARCH))$(comma)code=compute_$(lastword $(ARCH))
CUDA_OBJ  := $(if $(filter 1,$(CUDA)),$(patsubst cuda/%.cu,$(B)/cuda/%.o,$(wildcard cuda/*.cu)))
CUDA_LIB  := $(if $(filter 1,$(CUDA)),$(B)/libvncuda.a)
CUDA_LINK := $(if $(filter 1,$(CUDA)),$(CUDA_LIB) $(B)/libvn.a -L$(CUDA_HOME)/lib64 \
             -lcudart_static -ldl -lrt)

POPT   ?= -lpopt
JANSSON ?= -ljansson
override LDLIBS := $(CUDA_LINK) $(POPT) $(JANSSON) -lzstd -lz -lzip $(if $(filter 1,$(ONEDNN)),-ldnnl) $(if $(filter 1,$(HTSLIB)),-lhts) -lm $(LDLIBS)

PROG_SRC := $(wildcard src/vn-*.c)
LIB_SRC  := $(filter-out $(PROG_SRC) $(if $(filter 1,$(HTSLIB)),,src/bam.c),$(wildcard src/*.c))
SCRIPTS  := $(patsubst src/%.sh,bin/%,$(wildcard src/vn-*.sh))
PROGS    := $(PROG_SRC:src/%.c=bin/%)
LIB_OBJ  := $(LIB_SRC:src/%.c=$(B)/%.o)
TEST_SRC := $(wildcard tests/t_*.c)
TESTS    := $(TEST_SRC:tests/%.c=$(B)/tests/%)
TOOL_SRC := $(filter-out $(TEST_SRC) tests/fault.c,$(wildcard tests/*.c))
TOOLS    := $(TOOL_SRC:tests/%.c=$(B)/tests/%)

# targets that do everything use all processors, unless make was told how many
jobs = $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc))

ifeq ($(V),0)
Q := @
say = @printf '  %-4s %s\n' $(1) $@
endif

.PHONY: all
all: $(B)/libvn.a $(CUDA_LIB) $(PROGS) $(SCRIPTS)
	@ln -sfn $(notdir $(B)) build/last

# What everything was compiled with: touched only when that changes, and then all is again.
quote = '$(subst ','\'',$(1))'
$(B)/flags: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' $(call quote,$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS)) | cmp -s - $@ || \
	printf '%s\n' $(call quote,$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS)) >$@
$(B)/cuda/flags: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' $(call quote,$(NVCC) $(NVCCFLAGS)) | cmp -s - $@ || \
	printf '%s\n' $(call quote,$(NVCC) $(NVCCFLAGS)) >$@

# ---- the library and the programs -----------------------------------------------------

$(B)/%.o: src/%.c $(B)/flags
	$(call say,CC)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(CFLAGS_$*) -MMD -MP -c $< -o $@

$(B)/libvn.a: $(LIB_OBJ)
	$(call say,AR)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(B)/cuda/%.o: cuda/%.cu $(B)/cuda/flags
	$(call say,NVCC)
	@mkdir -p $(@D)
	$(Q)$(NVCC) $(NVCCFLAGS) -MMD -MP -c $< -o $@

$(B)/libvncuda.a: $(CUDA_OBJ)
	$(call say,AR)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(B)/bin/%: $(B)/%.o $(B)/libvn.a $(CUDA_LIB)
	$(call say,LD)
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) $< $(B)/libvn.a $(LDLIBS) -o $@

# bin/ is shared by all configurations: always look, copy only what differs
.PHONY: FORCE
FORCE:
$(PROGS): bin/%: $(B)/bin/% FORCE
	@cmp -s $< $@ || cp $< $@.tmp && if [ -e $@.tmp ]; then mv -f $@.tmp $@; fi

version := $(shell sed -n 's/^.define VN_VERSION "\(.*\)"/\1/p' src/vn.h)
$(SCRIPTS): bin/%: src/%.sh src/vn.h
	$(call say,SH)
	@mkdir -p $(@D)
	$(Q)sed 's/@VERSION@/$(version)/' $< >$@.tmp && chmod 755 $@.tmp && mv -f $@.tmp $@

# ---- tests ------------------------------------------------------------------------------

$(B)/tests/%.o: tests/%.c $(B)/flags
	$(call say,CC)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -Itests $(CFLAGS) -MMD -MP -c $< -o $@

$(B)/tests/%: $(B)/tests/%.o $(B)/libvn.a $(CUDA_LIB)
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS) $< $(B)/libvn.a $(LDLIBS) -o $@

$(B)/tests/fault.so: tests/fault.c
	$(call say,LD)
	@mkdir -p $(@D)
	$(Q)$(CC) -D_GNU_SOURCE -std=c11 -O1 -g -fPIC -shared $< -ldl -o $@

# ---- the CUDA backend on a processor: tests/emu/emu.h ------------------------------------

# Kernels run under the address sanitizer whatever SAN says: it is their memcheck.
EMU      := $(B)/emu
EMU_SAN  := $(if $(filter-out address undefined,$(subst $(comma), ,$(SAN))),$(SAN),address$(comma)alignment)
CXX_emu  := $(if $(findstring clang,$(CC)),$(subst clang,clang++,$(CC)),$(CXX))
EMU_CXX   = $(CXX_emu) -std=c++17 -g -pthread -D_GNU_SOURCE -Itests/emu -Isrc -MMD -MP \
            -Wall -Wextra -Wno-unknown-pragmas -Wno-unused-function -Wno-psabi $(if $(filter 1,$(WERROR)),-Werror)
EMU_CU   := $(patsubst cuda/%.cu,$(EMU)/%.o,$(wildcard cuda/*.cu))
EMU_HEAD := $(patsubst cuda/%,$(EMU)/cuda/%,$(filter-out %/ptx.cuh %/hopper.cuh,$(wildcard cuda/*.h cuda/*.cuh)))
EMU_RUN  := $(patsubst tests/emu/%.cc,$(EMU)/run/%.o,$(filter-out %/cublasLt.cc,$(wildcard tests/emu/*.cc)))
EMU_BIN  := $(EMU)/t_ops $(EMU)/t_rows $(EMU)/t_attn $(EMU)/t_cuda $(EMU)/vn-embed
EMU_LINK  = $(CXX_emu) $(filter-out -Wl$(comma)--as-needed,$(LDFLAGS)) -fsanitize=$(EMU_SAN) -rdynamic \
            -Wl,-rpath,'$$ORIGIN',--disable-new-dtags

$(EMU)/cuda/%: cuda/% tests/emu/launch.py
	@mkdir -p $(@D)
	$(Q)python3 tests/emu/launch.py $< >$@.tmp && mv $@.tmp $@
$(EMU)/test/%: tests/emu/% tests/emu/launch.py
	@mkdir -p $(@D)
	$(Q)python3 tests/emu/launch.py $< >$@.tmp && mv $@.tmp $@
$(EMU)/%.o: $(EMU)/cuda/%.cu $(EMU_HEAD) $(B)/flags
	$(call say,CXX)
	$(Q)$(EMU_CXX) -O1 -fsanitize=$(EMU_SAN) -fno-sanitize-recover=all -x c++ -c $< -o $@
$(EMU)/t_emu.o: $(EMU)/test/t_emu.cu $(B)/flags
	$(call say,CXX)
	$(Q)$(EMU_CXX) -Itests -O1 -fsanitize=$(EMU_SAN) -fno-sanitize-recover=all -x c++ -c $< -o $@
$(EMU)/run/%.o: tests/emu/%.cc $(B)/flags
	$(call say,CXX)
	@mkdir -p $(@D)
	$(Q)$(EMU_CXX) -O3 -ffp-contract=off -fPIC $(if $(findstring address,$(EMU_SAN)),-DEMU_ASAN) -c $< -o $@
$(EMU)/backend.o: src/backend.c $(B)/flags
	$(call say,CC)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -UVN_HAVE_CUDA -DVN_HAVE_CUDA=1 $(CFLAGS) -MMD -MP -c $< -o $@
$(EMU)/libcublasLt.so.0: $(EMU)/run/cublasLt.o $(EMU)/run/product.o
	$(call say,LD)
	$(Q)$(CXX_emu) -shared $^ -o $@
$(EMU)/t_ops $(EMU)/t_rows $(EMU)/t_attn $(EMU)/t_cuda: $(EMU)/%: $(B)/tests/%.o
$(EMU)/vn-embed: $(B)/vn-embed.o
$(EMU_BIN): $(EMU_CU) $(EMU_RUN) $(EMU)/backend.o $(EMU)/libcublasLt.so.0 $(B)/libvn.a
	$(call say,LD)
	$(Q)$(EMU_LINK) $(filter %.o,$^) $(B)/libvn.a $(filter-out $(CUDA_LINK),$(LDLIBS)) -ldl -o $@
$(EMU)/t_emu: $(EMU)/t_emu.o $(EMU_RUN)
	$(call say,LD)
	$(Q)$(EMU_LINK) $^ -o $@

# the ceiling that bench-gpu compares with
GEMM := $(if $(filter 1,$(CUDA)),$(B)/tests/gemm)
$(B)/tests/gemm: tests/gemm.cu $(B)/cuda/flags
	$(call say,NVCC)
	@mkdir -p $(@D)
	$(Q)$(NVCC) $(NVCCFLAGS) $< -o $@ -ldl

.PHONY: tests check
tests: all $(TESTS) $(TOOLS) $(EMU_BIN) $(EMU)/t_emu $(GEMM) $(if $(wildcard tests/fault.c),$(B)/tests/fault.so)

check: deps
	@$(MAKE) $(jobs) --no-print-directory check-built
.PHONY: check-built
check-built: tests
	@B=$(B) tests/run.sh

.PHONY: deps
deps:
	@tests/deps.sh

# ---- more tests, benchmarks ----------------------------------------------------------

# bin/ holds the configuration built last: put the ordinary one back, pass or fail
.PHONY: check-san
check-san: deps
	@rc=0; $(MAKE) $(jobs) --no-print-directory SAN=address,undefined check-built || rc=$$?; \
	$(MAKE) $(jobs) --no-print-directory -s SAN= all && exit $$rc

.PHONY: check-emu
check-emu: deps
	@$(MAKE) $(jobs) --no-print-directory tests
	@B=$(B) EMU_ALL=1 PATIENCE=7200 tests/run.sh -v emu.sh

# with what proves on stand-ins that it can fail; 3B in fp32 takes its time on a CPU
.PHONY: check-real
check-real: deps
	@$(MAKE) $(jobs) --no-print-directory tests
	@B=$(B) PATIENCE=7200 tests/run.sh -v real

# where the GPU is, there may be no compiler: check-gpu-built runs what lies in build/last
.PHONY: check-gpu check-gpu-built
check-gpu: deps
	@$(MAKE) $(jobs) --no-print-directory CUDA=1 tests
	@$(MAKE) --no-print-directory check-gpu-built
check-gpu-built:
	@tests/gpu.sh

BENCH_PARTS ?=
.PHONY: bench-gpu bench-gpu-built
bench-gpu: deps
	@$(MAKE) $(jobs) --no-print-directory CUDA=1 tests
	@$(MAKE) --no-print-directory bench-gpu-built
bench-gpu-built:
	@$(if $(ORACLE_PYTHON),$(ORACLE_PYTHON),python3) tests/gpu_bench.py $(BENCH_PARTS)

.PHONY: check-oracle check-oracle-gpu bench
check-oracle-gpu: ORACLE = VN_TEST_DEVICE=cuda
check-oracle-gpu: check-oracle
check-oracle:
	@tests/deps.sh $(if $(ORACLE_PYTHON),,python3-venv)
	@$(MAKE) $(jobs) --no-print-directory tests
	@$(ORACLE) B=$(B) ORACLE_PYTHON="$(ORACLE_PYTHON)" tests/oracle.sh
bench:
	@tests/deps.sh $(if $(ORACLE_PYTHON),,python3-venv)
	@$(MAKE) $(jobs) --no-print-directory tests
	@B=$(B) ORACLE_PYTHON="$(ORACLE_PYTHON)" tests/bench.sh

.PHONY: demo
demo: deps
	@$(MAKE) $(jobs) --no-print-directory -s all
	@examples/demo/run.sh

# ---- installing ------------------------------------------------------------------------

INSTALL ?= install
bindir  = $(DESTDIR)$(PREFIX)/bin
mandir  = $(DESTDIR)$(PREFIX)/share/man
MAN     := $(wildcard man/*.[157])
# where programs in bin/ look for them (src/model_find.c)
modeldir = $(DESTDIR)$(PREFIX)/share/vn/models
MODELS  := $(patsubst examples/models/%,%,$(wildcard examples/models/*/*))

.PHONY: install uninstall
install: all
	$(INSTALL) -d $(bindir) $(mandir)/man1 $(mandir)/man5 $(mandir)/man7
	$(INSTALL) -m 755 $(PROGS) $(SCRIPTS) $(bindir)
	$(INSTALL) -m 644 $(filter %.1,$(MAN)) $(mandir)/man1
	$(INSTALL) -m 644 $(filter %.5,$(MAN)) $(mandir)/man5
	$(INSTALL) -m 644 $(filter %.7,$(MAN)) $(mandir)/man7
	for f in $(MODELS); do $(INSTALL) -D -m 644 examples/models/$$f $(modeldir)/$$f || exit; done
uninstall:
	rm -f $(patsubst bin/%,$(bindir)/%,$(PROGS) $(SCRIPTS))
	rm -f $(foreach m,$(MAN),$(mandir)/man$(subst .,,$(suffix $(m)))/$(notdir $(m)))
	rm -f $(MODELS:%=$(modeldir)/%)
	rmdir $(sort $(dir $(MODELS:%=$(modeldir)/%))) $(modeldir) $(modeldir:/models=) 2>/dev/null || true

.PHONY: help clean print-config
help:
	@sed -n '3,/^$$/s/^# \{0,1\}//p' Makefile
clean:
	rm -rf $(filter-out build/oracle-venv,$(wildcard build/*)) $(PROGS) $(SCRIPTS)
print-config:
	@echo "configuration $(CONF): CC=$(CC) CUDA=$(CUDA) ONEDNN=$(ONEDNN) HTSLIB=$(HTSLIB) SAN=$(SAN)"

-include $(wildcard $(B)/*.d $(B)/cuda/*.d $(B)/tests/*.d $(EMU)/*.d $(EMU)/run/*.d)
.SECONDARY:
