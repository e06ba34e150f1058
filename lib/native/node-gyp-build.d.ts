/** What's used of it; it brings no types along. @source node-gyp-build 4.8.4, README.md */
declare module 'node-gyp-build' {
  const load: {
    /** Where the addon of the package at `root` is. @throws where there's none */
    path(root: string): string;
  };
  export default load;
}
