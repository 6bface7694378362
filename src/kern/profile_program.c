/* SPDX-License-Identifier: Apache-2.0 */
/* The program of a profile: out of libseccomp, what it answers, as text; see profile.h. */
#include <errno.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "kern/profile_internal.h"
#include "kern/seccomp.h"

#define INSN_BYTES sizeof(struct sock_filter)
#define INSN_DIGITS (2 * INSN_BYTES)

void profile_done(struct profile *p)
{
	free(p->insns);
	*p = (struct profile){0};
}

int profile_export(scmp_filter_ctx filter, struct profile *ret)
{
	AUTO_FD int fd = memfd_create("cleave-profile", MFD_CLOEXEC);
	struct stat st;
	int r = fd < 0 ? -errno : seccomp_export_bpf(filter, fd);

	if (r == 0 && fstat(fd, &st) < 0)
		r = -errno;
	if (r < 0)
		return r;
	if (st.st_size > (off_t)(PROFILE_INSNS_MAX * INSN_BYTES))
		return -E2BIG;
	ret->insns = malloc((size_t)st.st_size);
	ret->len = (size_t)st.st_size / INSN_BYTES;
	if (!ret->insns)
		return -ENOMEM;
	return pread(fd, ret->insns, (size_t)st.st_size, 0) == st.st_size ? 0 : -EIO;
}

/* What the program says to a call by its number alone, as the kernel itself finds out which calls
 * are always allowed: as soon as it asks for something else, nothing is known. */
static bool always_runs(const struct profile *p, uint32_t nr, bool or_fails)
{
	uint32_t a = 0, action;

	for (size_t pc = 0; pc < p->len; pc++) {
		const struct sock_filter *f = &p->insns[pc];
		bool yes = false;

		switch (f->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			if (f->k == offsetof(struct seccomp_data, nr))
				a = nr;
			else if (f->k == offsetof(struct seccomp_data, arch))
				a = seccomp_arch_native();
			else
				return false;
			continue;
		case BPF_RET | BPF_K:
			action = f->k & SECCOMP_RET_ACTION_FULL;
			return action == SECCOMP_RET_ALLOW || action == SECCOMP_RET_LOG ||
			       (or_fails && action == SECCOMP_RET_ERRNO);
		case BPF_JMP | BPF_JA:
			if (f->k >= p->len)
				return false;
			pc += f->k;
			continue;
		case BPF_JMP | BPF_JEQ | BPF_K:
			yes = a == f->k;
			break;
		case BPF_JMP | BPF_JGE | BPF_K:
			yes = a >= f->k;
			break;
		case BPF_JMP | BPF_JGT | BPF_K:
			yes = a > f->k;
			break;
		default:
			return false;
		}
		pc += yes ? f->jt : f->jf;
	}
	return false;
}

static const char *first_that_does_not(const struct profile *p, const char *const *names,
				       bool or_fails)
{
	for (; *names; names++) {
		int nr = seccomp_number(*names);

		if (nr < 0 || !always_runs(p, (uint32_t)nr, or_fails))
			return *names;
	}
	return NULL;
}

const char *profile_forbids(const struct profile *p, const char *const *names)
{
	return first_that_does_not(p, names, false);
}

const char *profile_harms(const struct profile *p, const char *const *names)
{
	return first_that_does_not(p, names, true);
}

/* ---- as text: sixteen hexadecimal digits an instruction, its bytes in memory order ---- */

char *profile_text(const struct profile *p)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *bytes = (const uint8_t *)p->insns;
	char *text = malloc(p->len * INSN_DIGITS + 1);

	for (size_t i = 0; text && i < p->len * INSN_BYTES; i++) {
		text[2 * i] = digits[bytes[i] >> 4];
		text[2 * i + 1] = digits[bytes[i] & 15];
	}
	if (text)
		text[p->len * INSN_DIGITS] = 0;
	return text;
}

static int digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int profile_from_text(const char *text, struct profile *ret)
{
	size_t n = strlen(text);
	uint8_t *bytes;

	*ret = (struct profile){0};
	if (!n || n % INSN_DIGITS || n / INSN_DIGITS > PROFILE_INSNS_MAX)
		return -EINVAL;
	bytes = malloc(n / 2);
	if (!bytes)
		return -ENOMEM;
	*ret = (struct profile){(struct sock_filter *)bytes, n / INSN_DIGITS};
	for (size_t i = 0; i < n / 2; i++) {
		int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);

		if (high < 0 || low < 0) {
			profile_done(ret);
			return -EINVAL;
		}
		bytes[i] = (uint8_t)(high << 4 | low);
	}
	return 0;
}
