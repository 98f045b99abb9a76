import { sumOfParts } from '../store/store.js';

/** What a queue holds of a piece of work: pointers alone. Weights and results travel through the store. */
export interface JobData {
  /** Name of the result: see {@link Job}. */
  readonly id: string;
  /** Name of the object in the store that describes the run: see {@link RunDescription}. */
  readonly run: string;
  /** Which piece of the run: the name of a linear, a tensor, a point of a study. */
  readonly unit: string;
  /** Name of the object in the store that the piece reads beside what the run describes. */
  readonly inputs?: string;
  /** Address of the store, as the coordinator names it. */
  readonly store: string;
}

/** A job with the sum of everything that decides its result: jobs of one sum have one result. */
export interface Job {
  /** SHA-256, hexadecimal: the name of the result in the store. */
  readonly id: string;
  readonly unit: string;
  /** See {@link JobData.inputs}. */
  readonly inputs?: string;
}

/** What all jobs of a run have in common. It lies in the store as JSON. */
export interface RunDescription {
  /** Which of the worker's kinds of work it is. */
  readonly kind: string;
  /** Version of the toolkit that began the run. Workers of another one may give other bytes, and refuse it. */
  readonly version: string;
  /** Kernels that the coordinator computes with: others differ in the last bits. */
  readonly kernels: string;
  /** The kind's own. */
  readonly [key: string]: unknown;
}

/**
 * The id of a job in the queue. Two runs may want the same result in two stores: these are two jobs, and a queue keeps one job of an
 * id.
 */
export const queueId = ({ id }: Job, storeAddress: string): string => sumOfParts(id, storeAddress);

/** Name of the queue that coordinators and workers meet at, where they name no other. */
export const defaultQueueName = 'q';
