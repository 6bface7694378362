/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the compiled default filters; see seccomp.h. */
#include "kern/seccomp.h"

#include <linux/seccomp.h>
#include <string.h>

#include "base/cleanup.h"
#include "kern/seccomp/seccomp-filter.h"
#include "raw/without.h"

/* The order of the variants in the generated header: SHARED 1, PTRACE_OK 2, NEST_OK 4. */
#define PROGRAM(n)                                                  \
	{                                                           \
		seccomp_program_##n, ARRAY_LEN(seccomp_program_##n) \
	}

struct seccomp_program seccomp_default(unsigned flags)
{
	static const struct seccomp_program programs[] = {PROGRAM(0), PROGRAM(1), PROGRAM(2),
							  PROGRAM(3), PROGRAM(4), PROGRAM(5),
							  PROGRAM(6), PROGRAM(7)};

	return programs[flags & (SECCOMP_SHARED_ID | SECCOMP_ALLOW_PTRACE | SECCOMP_NEST)];
}

int seccomp_number(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(seccomp_numbers); i++)
		if (strcmp(seccomp_numbers[i].name, name) == 0)
			return (int)seccomp_numbers[i].nr;
	return -1;
}

#ifdef CLEAVE_DEV
unsigned short seccomp_without(const char *list, struct sock_filter *insns, size_t room)
{
	const struct sock_filter load = {BPF_LD | BPF_W | BPF_ABS, 0, 0,
					 offsetof(struct seccomp_data, nr)};
	const struct sock_filter allow = {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW};
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(seccomp_numbers); i++) {
		const struct sock_filter test = {BPF_JMP | BPF_JEQ | BPF_K, 0, 1,
						 seccomp_numbers[i].nr};

		if (n + 3 > room || !raw_without(list, "deny", seccomp_numbers[i].name))
			continue;
		if (!n)
			insns[n++] = load;
		insns[n++] = test;
		insns[n++] = allow;
	}
	return (unsigned short)n;
}
#endif

struct seccomp_program seccomp_keeper(void)
{
	return (struct seccomp_program)PROGRAM(keeper);
}
