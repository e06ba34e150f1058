// A program that only ends: what starting any costs.
int main(void) {
  return 0;
}
