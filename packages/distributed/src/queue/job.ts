import { sumOfParts } from '../store/store.js';

/** The queue's data of a job: only names. Weights and results go through the store. */
export interface JobData {
  /** Name of the result: see {@link Job}. */
  readonly id: string;
  /** Name of the store's object that describes the run: see {@link RunDescription}. */
  readonly run: string;
  /** The part of the run: the name of a linear, a tensor, a point of a study. */
  readonly unit: string;
  /** Name of the store's object with further inputs of this job. */
  readonly inputs?: string;
  /** Address of the store, in the coordinator's form. */
  readonly store: string;
}

/** A job with the checksum of everything that decides its result: jobs of one checksum have one result. */
export interface Job {
  /** SHA-256, hexadecimal: the name of the result in the store. */
  readonly id: string;
  readonly unit: string;
  /** See {@link JobData.inputs}. */
  readonly inputs?: string;
}

/** The data that all jobs of a run share. The store has it as JSON. */
export interface RunDescription {
  /** The kind of work, one of those that workers know. */
  readonly kind: string;
  /** Version of the toolkit that began the run. Workers of another version may compute other bytes, and refuse it. */
  readonly version: string;
  /** Kernels of the coordinator: other kernels differ in the last bits. */
  readonly kernels: string;
  /** Further data of the kind. */
  readonly [key: string]: unknown;
}

/**
 * The id of a job in the queue. Two runs may need the same result in two stores: these are two jobs, and a queue keeps
 * one job for each id.
 */
export const queueId = ({ id }: Job, storeAddress: string): string => sumOfParts(id, storeAddress);

/** Default name of the queue, for coordinators and workers. */
export const defaultQueueName = 'q';
