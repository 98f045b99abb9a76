/** Part of a run's identity: another version may give other bytes. Equals package.json (checked by a test). */
export const toolkitVersion = '0.1.0';
