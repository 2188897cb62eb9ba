# vn: one non-recursive Makefile.
#
#   make            all that this machine can build (CUDA where nvcc is found), into bin/
#   make help       every target and knob
#
# A file of src/ with a hyphen in its name is a program, one without is the library.
# Objects live in build/<configuration>/, so that switching SAN, CUDA or ONEDNN back and
# forth rebuilds nothing twice; bin/ holds the configuration built last.

CC      ?= gcc
NVCC    ?= nvcc
PREFIX  ?= /usr/local
DESTDIR ?=
V       ?= 0
SAN     ?=
WERROR  ?= 1

have = $(shell printf '\043include <$(1)>\n' | $(CC) -E - >/dev/null 2>&1 && echo 1 || echo 0)
CUDA   ?= $(if $(wildcard cuda/*.cu),$(if $(shell command -v $(NVCC)),1,0),0)
ONEDNN ?= $(call have,dnnl.h)
OPT    ?= -O2

CONF  := $(if $(SAN),san-$(subst $(comma),-,$(SAN)),release)$(if $(filter 1,$(CUDA)),-cuda)$(if $(filter 1,$(ONEDNN)),,-noonednn)
comma := ,
B     := build/$(subst $(comma),-,$(CONF))

WARN   := -Wall -Wextra -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition \
          -Wvla -Wwrite-strings -Wshadow -Wpointer-arith -Wundef \
          $(if $(filter 1,$(WERROR)),-Werror)
CPPFLAGS += -D_GNU_SOURCE -Isrc -DVN_HAVE_ONEDNN=$(ONEDNN) -DVN_HAVE_CUDA=$(CUDA)
CFLAGS += -std=c11 $(OPT) -g -pthread $(WARN) $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer)
LDFLAGS += -pthread $(if $(SAN),-fsanitize=$(SAN)) -Wl,--as-needed
POPT   ?= -lpopt
JANSSON ?= -ljansson
LDLIBS := $(POPT) $(JANSSON) -lzstd -lz -lzip $(if $(filter 1,$(ONEDNN)),-ldnnl) -lm $(LDLIBS)

PROG_SRC := $(wildcard src/vn-*.c)
LIB_SRC  := $(filter-out $(PROG_SRC),$(wildcard src/*.c))
PROGS    := $(PROG_SRC:src/%.c=bin/%)
LIB_OBJ  := $(LIB_SRC:src/%.c=$(B)/%.o)
SCRIPTS  := $(wildcard bin/vn-*.sh)
TEST_SRC := $(wildcard tests/t_*.c)
TESTS    := $(TEST_SRC:tests/%.c=$(B)/tests/%)
TOOL_SRC := $(filter-out $(TEST_SRC) tests/fault.c,$(wildcard tests/*.c))
TOOLS    := $(TOOL_SRC:tests/%.c=$(B)/tests/%)

ifeq ($(V),0)
Q := @
say = @printf '  %-4s %s\n' $(1) $@
endif

.PHONY: all
all: $(B)/libvn.a $(PROGS)

# ---- the library and the programs -----------------------------------------------------

$(B)/%.o: src/%.c
	$(call say,CC)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(CFLAGS_$*) -MMD -MP -c $< -o $@

$(B)/libvn.a: $(LIB_OBJ)
	$(call say,AR)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(B)/bin/%: $(B)/%.o $(B)/libvn.a
	$(call say,LD)
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) $< $(B)/libvn.a $(LDLIBS) -o $@

# bin/ is shared by all configurations: always look, copy only what differs
.PHONY: FORCE
FORCE:
$(PROGS): bin/%: $(B)/bin/% FORCE
	@cmp -s $< $@ || cp $< $@.tmp && if [ -e $@.tmp ]; then mv -f $@.tmp $@; fi

# ---- tests ------------------------------------------------------------------------------

$(B)/tests/%: tests/%.c $(B)/libvn.a
	$(call say,LD)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -Itests $(CFLAGS) -MMD -MP $(LDFLAGS) $< $(B)/libvn.a $(LDLIBS) -o $@

$(B)/tests/fault.so: tests/fault.c
	$(call say,LD)
	@mkdir -p $(@D)
	$(Q)$(CC) -D_GNU_SOURCE -std=c11 -O1 -g -fPIC -shared $< -ldl -o $@

.PHONY: tests check
tests: all $(TESTS) $(TOOLS) $(if $(wildcard tests/fault.c),$(B)/tests/fault.so)

check: deps
	@$(MAKE) --no-print-directory check-built
.PHONY: check-built
check-built: tests
	@B=$(B) tests/run.sh

.PHONY: deps
deps:
	@tests/deps.sh

.PHONY: clean print-config
clean:
	rm -rf build $(PROGS)
print-config:
	@echo "configuration $(CONF): CC=$(CC) CUDA=$(CUDA) ONEDNN=$(ONEDNN) SAN=$(SAN)"

-include $(wildcard $(B)/*.d $(B)/tests/*.d)
.SECONDARY:
