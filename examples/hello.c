/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <unistd.h>

int main(void)
{
	char host[65] = "";

	gethostname(host, sizeof(host) - 1);
	printf("hello from process %d of user %d on host %s\n", (int)getpid(), (int)getuid(), host);
	return 0;
}
