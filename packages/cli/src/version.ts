/** Version of the command; equals package.json (checked by a test). */
export const version = '0.1.0';
