/** Part of a run's identity: another version may give other bytes. A test checks that it equals package.json. */
export const toolkitVersion = '0.1.0';
