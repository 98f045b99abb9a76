export { type Connection, connectionOver } from './exchange/connection.js';
export { awaitWorkers, joinWorkers, type MeetingOptions, type MeetingPlace } from './exchange/meet.js';
export { hubExchange, memberExchange, type StarExchangeOptions } from './exchange/star-exchange.js';
export { WorkerError } from './exchange/worker-error.js';
