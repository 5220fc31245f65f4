package manifest

import (
	"fmt"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// ParseSelector returns a label selector as kubectl takes it in a manifest's form,
// which has no < and >.
func ParseSelector(text string) (*metav1.LabelSelector, error) {
	parsed, err := labels.Parse(text)
	if err != nil {
		return nil, err
	}
	requirements, _ := parsed.Requirements()
	s := &metav1.LabelSelector{}
	for _, r := range requirements {
		expression := metav1.LabelSelectorRequirement{Key: r.Key(), Values: slices.Sorted(maps.Keys(r.Values()))}
		switch r.Operator() {
		case selection.Equals, selection.DoubleEquals:
			if _, twice := s.MatchLabels[r.Key()]; !twice {
				if s.MatchLabels == nil {
					s.MatchLabels = map[string]string{}
				}
				s.MatchLabels[r.Key()] = expression.Values[0]
				continue
			}
			expression.Operator = metav1.LabelSelectorOpIn
		case selection.In:
			expression.Operator = metav1.LabelSelectorOpIn
		case selection.NotEquals, selection.NotIn:
			expression.Operator = metav1.LabelSelectorOpNotIn
		case selection.Exists:
			expression.Operator = metav1.LabelSelectorOpExists
		case selection.DoesNotExist:
			expression.Operator = metav1.LabelSelectorOpDoesNotExist
		default:
			return nil, fmt.Errorf("there is no operator %s", r.Operator())
		}
		s.MatchExpressions = append(s.MatchExpressions, expression)
	}
	return s, nil
}
