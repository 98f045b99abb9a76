import { convertWork } from './convert-work.js';
import type { JobKind } from './job-kind.js';
import { quantizeWork } from './quantize-work.js';
import { solveWork } from './solve-work.js';
import { studyWork } from './study-work.js';
import { windowWork } from './window-work.js';

/** All kinds of work for workers. */
export const jobKinds: readonly JobKind[] = [quantizeWork, solveWork, windowWork, convertWork, studyWork];
