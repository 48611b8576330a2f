package adapter

import (
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	v1 "github.com/vllm-grpc-adapter/vllm-grpc-adapter/clients/go/vllm_adapter/v1"
)

// Fold makes of a stream's events the response that Generate gives for the same answer. Unless they are all, up to an
// end without an error, it is incomplete.
func Fold(events []*v1.StreamGenerateResponse) *v1.GenerateResponse {
	response, choices := &v1.GenerateResponse{}, map[int32]*parts{}
	for _, event := range events {
		copyFields(event, response)
		copyFields(event.GetStarted(), response)
		event.ProtoReflect().Range(func(_ protoreflect.FieldDescriptor, value protoreflect.Value) bool {
			delta, ok := value.Interface().(protoreflect.Message)
			if ok && delta.Descriptor().Fields().ByName("choice_index") != nil {
				index := int32(delta.Get(delta.Descriptor().Fields().ByName("choice_index")).Int())
				if choices[index] == nil {
					choices[index] = &parts{choice: &v1.Choice{Index: &index}}
				}
				choices[index].push(event)
			}
			return true
		})
	}
	for _, index := range slices.Sorted(maps.Keys(choices)) {
		response.Choices = append(response.Choices, choices[index].whole())
	}
	return response
}

// parts are a choice, with its texts apart: to join them at each event would take the square of their length.
type parts struct {
	choice                      *v1.Choice
	content, reasoning, refusal strings.Builder
	calls                       []*v1.ToolCall
	arguments                   []*strings.Builder
}

func (p *parts) push(event *v1.StreamGenerateResponse) {
	p.content.WriteString(event.GetContent().GetText())
	p.reasoning.WriteString(event.GetReasoning().GetText())
	p.refusal.WriteString(event.GetRefusal().GetText())
	copyFields(event.GetTokens(), p.choice)
	copyFields(event.GetFinished(), p.choice)
	if delta := event.GetToolCall(); delta != nil {
		// Calls appear in the order of their index, so that a new one is the next.
		if int(delta.GetToolIndex()) >= len(p.calls) {
			p.calls = append(p.calls, &v1.ToolCall{Id: delta.GetId(), Name: delta.GetName()})
			p.arguments = append(p.arguments, &strings.Builder{})
		}
		p.arguments[min(int(delta.GetToolIndex()), len(p.calls)-1)].WriteString(delta.GetArguments())
	}
}

func (p *parts) whole() *v1.Choice {
	for i, call := range p.calls {
		call.Arguments = p.arguments[i].String()
	}
	p.choice.Refusal = p.refusal.String()
	p.choice.Message = &v1.ChatMessage{
		Role: v1.Role_ROLE_ASSISTANT, Content: p.content.String(), Reasoning: p.reasoning.String(), ToolCalls: p.calls,
	}
	return p.choice
}

// copyFields copies the fields that have the same name in both; lists are appended to.
func copyFields(from, to proto.Message) {
	target := to.ProtoReflect()
	from.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		same := target.Descriptor().Fields().ByName(field.Name())
		if same != nil && same.IsList() {
			for i := range value.List().Len() {
				target.Mutable(same).List().Append(value.List().Get(i))
			}
		} else if same != nil {
			target.Set(same, value)
		}
		return true
	})
}
