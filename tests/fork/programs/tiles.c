/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Uses AMX tiles as it is told by lines: "load" fills one, "look" tells whether it still holds
 * that, "release" gives them up.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ARCH_REQ_XCOMP_PERM 0x1023
#define TILE_DATA 18

/* palette 1; tile 0: 16 rows of 64 bytes */
static const unsigned char config[64] = {[0] = 1, [16] = 64, [48] = 16};
static unsigned char in[16 * 64], out[16 * 64];

static void load(void)
{
	__asm__ volatile("ldtilecfg (%0); tileloadd (%1,%2,1), %%tmm0" ::"r"(config), "r"(in),
			 "r"(64l)
			 : "memory");
}

static const char *look(void)
{
	memset(out, 0, sizeof(out));
	__asm__ volatile("tilestored %%tmm0, (%0,%1,1)" ::"r"(out), "r"(64l) : "memory");
	return memcmp(in, out, sizeof(in)) ? "lost" : "kept";
}

int main(void)
{
	char line[80];

	setvbuf(stdout, NULL, _IOLBF, 0);
	memset(in, 'x', sizeof(in));
	if (syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA)) {
		puts("refused by the kernel");
		return 77;
	}
	puts("ready");
	while (fgets(line, sizeof(line), stdin)) {
		if (!strcmp(line, "load\n"))
			load();
		else if (!strcmp(line, "release\n"))
			__asm__ volatile("tilerelease");
		puts(strcmp(line, "look\n") ? "done" : look());
	}
	return 0;
}
