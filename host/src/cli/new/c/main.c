// Outputs its payload in upper case.
#include <ctype.h>
#include <stdio.h>

int main(void)
{
    int c;
    while ((c = getchar()) != EOF) {
        putchar(toupper(c));
    }
    return ferror(stdin) || fflush(stdout);
}
