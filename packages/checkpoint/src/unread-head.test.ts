import { describeModel } from '@q/models';
import { describe, expect, it } from 'vitest';
import { unreadHead } from './unread-head.js';

const bert = {
  ...{ model_type: 'bert', vocab_size: 40, hidden_size: 8, intermediate_size: 12, num_hidden_layers: 1 },
  num_attention_heads: 2,
};

/** A folder of these tensors: those of the model, and more. */
function folderOf(architectures: readonly string[] | undefined, more: readonly string[]) {
  const config = { ...bert, ...(architectures ? { architectures } : {}) };
  const names = [...describeModel({ ...config, architectures: ['BertModel'] }).expected.keys(), ...more];
  const model = describeModel(config, undefined, new Set(names));
  const tensors = new Map(names.map((name) => [name, {}])) as unknown as Parameters<typeof unreadHead>[0]['tensors'];
  return { model, config, tensors, quantizedModules: [] };
}

describe('unreadHead', () => {
  it('names the tensors that the description does not read, weights first', () => {
    const answers = folderOf(['BertForQuestionAnswering'], ['qa_outputs.bias', 'qa_outputs.weight']);
    expect(unreadHead(answers)).toEqual({
      stated: 'BertForQuestionAnswering',
      tensors: ['qa_outputs.weight', 'qa_outputs.bias'],
      names: 'qa_outputs.weight, qa_outputs.bias',
    });
    const masked = folderOf(undefined, ['cls.a.bias', 'cls.b.bias', 'cls.c.bias', 'cls.d.bias', 'cls.e.weight']);
    expect(unreadHead(masked)?.names).toBe('cls.e.weight, cls.a.bias, cls.b.bias, cls.c.bias and 1 more');
    expect(unreadHead(masked)?.stated).toBeUndefined();
  });

  it('finds none in a base model, whatever config.json states, and in a classifier', () => {
    expect(
      unreadHead(
        folderOf(['BertForMaskedLM'], ['embeddings.position_ids', 'pooler.dense.weight', 'pooler.dense.bias']),
      ),
    ).toBeUndefined();
    expect(unreadHead(folderOf(['BertForTokenClassification'], ['classifier.weight', 'cls.bias']))).toBeUndefined();
  });
});
