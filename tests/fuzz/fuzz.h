/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the fuzz targets share: one of them a file, LLVMFuzzerTestOneInput in each. A target gives
 * bytes to the code that meets hostile ones, follows every reference of what was accepted, and
 * checks what must hold afterwards; the sanitizers and FUZZ_CHECK end the process.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FUZZ_CHECK(x)                                                                     \
	do {                                                                              \
		if (!(x)) {                                                               \
			fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #x); \
			abort();                                                          \
		}                                                                         \
	} while (0)

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A copy with a NUL behind it, of exactly that size, so that a read past it is seen. */
static inline char *fuzz_text(const uint8_t *data, size_t size)
{
	char *s = malloc(size + 1);

	FUZZ_CHECK(s);
	if (size)
		memcpy(s, data, size);
	s[size] = 0;
	return s;
}

/* Cuts the first byte off: which parser, which flags. 0 for an empty input. */
static inline uint8_t fuzz_selector(const uint8_t **data, size_t *size)
{
	if (!*size)
		return 0;
	(*size)--;
	return *(*data)++;
}

/* place.c: targets that are linked with it live in a mount namespace with an empty tmpfs there. */
#define FUZZ_PLACE "/mnt"
/* An empty directory `name` below the place; a descriptor. */
int fuzz_directory(const char *name);
/* Removes all that is in the place but the directory `name`, which is emptied; fails if there is
 * anything else: then something wrote outside. */
void fuzz_clean(const char *name);
/* The bytes as a file to read from the beginning. */
int fuzz_memfd(const void *data, size_t size);
