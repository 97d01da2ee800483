#include <cstdio>
int main() { getchar(); for (;;) new char[1 << 26]; }
