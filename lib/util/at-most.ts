/** Waits for some work no longer than this; what becomes of it afterwards is nobody's business. */
export async function atMost(boundMs: number, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const bound = new Promise(resolve => {
    timer = setTimeout(resolve, boundMs);
  });
  await Promise.race([work, bound]);
  clearTimeout(timer);
}
